"""Topics of events, typed; and windowed joins of several of them by key."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, overload

from ..errors import InvalidConfig
from .retry import Seconds, milliseconds

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
T_co = TypeVar("T_co", covariant=True)


class Topic(Generic[E]):
    """A topic whose events are of type `kind`, as CloudEvents or plain JSON.

    Partitions and retention are operations' matter: `topics/*.yaml`.

    Raises `InvalidConfig` for an empty name.
    """

    def __init__(self, name: str, kind: type[E]) -> None:
        if not name:
            raise InvalidConfig("a Topic needs the name that it has on the broker")
        self.name = name
        self.kind = kind

    def by(self, key: Callable[[E], str]) -> "Keyed[E]":
        """The topic with a key taken from each event, for `join`."""
        return Keyed(self, key)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {getattr(self.kind, '__name__', self.kind)})"


class Keyed(Generic[T_co]):
    """A topic with a key for each of its events."""

    def __init__(self, topic: Topic[T_co], key: Callable[[T_co], str]) -> None:
        self.topic = topic
        self._key = key


@dataclass(frozen=True, slots=True)
class Join(Generic[T_co]):
    """Events of several topics with the same key, as one tuple. Made by `join`. Durations in milliseconds."""

    sides: tuple[Keyed[Any], ...]
    within_ms: int
    lateness_ms: int
    on_missing: Literal["start", "dead_letter"]

    @property
    def name(self) -> str:
        return "+".join(side.topic.name for side in self.sides)


@overload
def join(
    a: Keyed[A], b: Keyed[B], /, *, within: Seconds, lateness: Seconds = 0, on_missing: Literal["start"]
) -> Join[tuple[A | None, B | None]]: ...
@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: Literal["dead_letter"] = "dead_letter",
) -> Join[tuple[A, B]]: ...
def join(
    a: Keyed[Any],
    b: Keyed[Any],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: Literal["start", "dead_letter"] = "dead_letter",
) -> Join[Any]:
    """Join the events of two topics by key within a window (seconds or timedelta).

    `lateness` is how long after its end a window still takes events. When a side is missing,
    `on_missing` starts the run with None in its place, or sends the other event to dead letters.
    Deploying a graph with such a trigger is not possible yet and says so. Raises `InvalidConfig` for a
    window that is not positive.
    """
    if milliseconds(within) <= 0 or milliseconds(lateness) < 0:
        raise InvalidConfig(f"join(within={within}, lateness={lateness}): a window is above 0 seconds long")
    return Join((a, b), milliseconds(within), milliseconds(lateness), on_missing)
