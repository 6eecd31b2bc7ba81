"""`Signal`: a named, typed message from outside to a running run."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, Generic, TypeVar, cast, overload

from ..application.execution.conversion import json_of
from ..domain.payload import Json
from ..errors import InvalidConfig, InvalidInput
from .adapter import travelling

R = TypeVar("R")


class Signal(Generic[R]):
    """A message that `Run.signal` sends and `Graph.wait` waits for.

    `name` addresses it within a run; `kind` is its value's type. Raises `InvalidConfig` for an empty name.
    """

    @overload
    def __init__(self, name: str, kind: type[R]) -> None: ...
    @overload
    def __init__(self: "Signal[Any]", name: str, kind: UnionType) -> None: ...
    def __init__(self, name: str, kind: Any) -> None:
        if not name:
            raise InvalidConfig("a Signal needs a name: runs are signalled by it")
        self.name = name
        self.kind = kind

    def dump(self, value: object) -> Json:
        """A value of it as JSON. Raises `InvalidInput` for a value of another type, `NotSerializable` for no JSON."""
        return json_of(travelling(self.kind), value, f"signal {self.name!r}")

    def __repr__(self) -> str:
        return f"Signal({self.name!r}, {getattr(self.kind, '__name__', self.kind)})"


def dumped(signals: Mapping[Signal[Any], object]) -> dict[str, Json]:
    """The values of these as JSON, by their names. Raises as `dump`, and `InvalidInput` for what is no `Signal`."""
    for signal in signals:
        if not isinstance(cast("object", signal), Signal):
            raise InvalidInput(f"signals: {signal!r} is no Signal: give Signal(name, its type)")
    return {signal.name: signal.dump(value) for signal, value in signals.items()}
