"""Topics of events, typed, and with a key for each event."""

import inspect
import re
from collections.abc import Callable
from types import UnionType
from typing import Any, Generic, TypeVar, overload

from ..errors import InvalidConfig
from .signature import name_of

E = TypeVar("E")
T_co = TypeVar("T_co", covariant=True)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Topic(Generic[E]):
    """A topic whose events are of type `kind`, as CloudEvents or plain JSON.

    Partitions and retention are operations' matter: `topics/*.yaml`, whose form is in docs/triggers.md ("Declaring
    topics").

    Raises `InvalidConfig` for a name that no topic can have.
    """

    @overload
    def __init__(self, name: str, kind: type[E]) -> None: ...
    @overload
    def __init__(self: "Topic[Any]", name: str, kind: UnionType) -> None: ...
    def __init__(self, name: str, kind: Any) -> None:
        if not _NAME.fullmatch(name) or name in {".", ".."}:
            raise InvalidConfig(
                f"Topic({name!r}): no topic of Kafka can have this name: "
                f"give up to 249 letters, digits, '.', '_' and '-'"
            )
        self.name = name
        self.kind = kind

    def by(self, key: Callable[[E], str]) -> "Keyed[E]":
        """The topic with a key taken from each event, for `join`, `batch` and `debounce`.

        An event whose key is None, or raises, goes to the dead letters. Raises `InvalidConfig` for an async function.
        """
        if inspect.iscoroutinefunction(key):
            raise InvalidConfig(f"{self!r}.by({name_of(key)}): it is async; give a plain function of the event")
        return Keyed(self, key)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {getattr(self.kind, '__name__', self.kind)})"


class Keyed(Generic[T_co]):
    """A topic with a key for each of its events."""

    def __init__(self, topic: Topic[T_co], key: Callable[[T_co], str]) -> None:
        self.topic = topic
        self._key = key

    @property
    def key(self) -> Callable[..., str]:
        """The function that takes the key from an event's data."""
        return self._key
