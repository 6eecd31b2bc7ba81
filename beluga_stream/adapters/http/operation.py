"""One operation of the gateway: what it is called, who may, what it takes and gives."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ...domain.payload import Json
from .form import Nothing
from .tokens import Caller, Scope


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query or a header. Wrong ones are refused before the operation is called."""

    name: str
    about: str
    pattern: str | None = None
    number: tuple[float, float] | None = None
    """The least and the most, for numbers."""
    whole: bool = False
    flag: bool = False
    many: bool = False
    place: str = "query"
    most_letters: int = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has been checked. `path` and `query` hold what the operation declares, `form` its body."""

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    form: Any = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Given:
    """An answer: JSON, its status and headers."""

    value: Json
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the table of operations (`table.py`)."""

    name: str
    method: str
    path: str
    about: str
    scope: Scope | None
    """None: anybody."""
    call: Callable[[Any, Asked], Awaitable[Given]] | None = None
    """A method of `Operations`. None: a stream, which the gateway serves itself."""
    form: type[BaseModel] = Nothing
    gives: type[BaseModel] | None = None
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()
    raw: bool = False
    """The body is JSON of any form."""
