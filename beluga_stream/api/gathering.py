"""Several events that start one run together: windowed joins, batches, and bursts of which the last counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from ..errors import InvalidConfig
from ..ports.handlers import Gathers, Side
from .adapter import adapter_of
from .fit import list_of, union
from .retry import Seconds, milliseconds
from .topic import Keyed, Topic

if TYPE_CHECKING:
    from .work import Work

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
T_co = TypeVar("T_co", covariant=True)

_LONGEST_MS = 30 * 24 * 3_600_000
_SIZE_MOST = 10_000

Late = Literal["dead_letter", "drop"]


@dataclass(frozen=True, slots=True)
class Together(Generic[T_co]):
    """Events that start a run together, as one value. Made by `join`, `batch` and `debounce`. Times in milliseconds."""

    kind: Literal["join", "batch", "burst"]
    sides: tuple[Keyed[Any], ...]
    within_ms: int = 0
    lateness_ms: int = 0
    on_missing: "Literal['start', 'dead_letter', 'drop'] | Work[Any, Any]" = "dead_letter"
    late: Late = "dead_letter"
    size: int = 0
    quiet_ms: int = 0
    most_ms: int | None = None

    @property
    def name(self) -> str:
        topics = "+".join(side.topic.name for side in self.sides)
        return topics if self.kind == "join" else f"{topics}:{self.kind}"

    @property
    def value_kind(self) -> Any:
        """The type of the value."""
        kinds = [side.topic.kind for side in self.sides]
        match self.kind:
            case "join":
                return _tuple_of(map(optional, kinds) if self.on_missing == "start" else kinds)
            case "batch":
                return list_of(kinds[0])
            case "burst":
                return kinds[0]

    def compiled(self, graph: str) -> Gathers:
        """What ingest and the gatherer need of it. Raises `InvalidGraph` for a type that no JSON becomes."""
        on_missing = self.on_missing
        return Gathers(
            kind=self.kind,
            sides=tuple(
                Side(
                    side.topic.name,
                    adapter_of(side.topic.kind, graph, "input", f"the event of topic {side.topic.name!r}"),
                    side.key,
                )
                for side in self.sides
            ),
            within_ms=self.within_ms,
            lateness_ms=self.lateness_ms,
            missing=on_missing if isinstance(on_missing, str) else "graph",
            graph=None if isinstance(on_missing, str) else on_missing.name,
            late=self.late,
            size=self.size,
            wait_ms=self.within_ms,
            quiet_ms=self.quiet_ms,
            most_ms=self.most_ms,
        )

    @property
    def missing_kind(self) -> Any:
        """The type of what another graph gets of an incomplete window."""
        return _tuple_of(optional(side.topic.kind) for side in self.sides)


@dataclass(frozen=True, slots=True)
class Join(Together[T_co]):
    """One event of each of several topics, with the same key and of one window. Made by `join`."""


@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: Literal["start"],
    late: Late = ...,
) -> Join[tuple[A | None, B | None]]: ...
@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: "Literal['dead_letter', 'drop'] | Work[tuple[A | None, B | None], Any]" = "dead_letter",
    late: Late = ...,
) -> Join[tuple[A, B]]: ...
@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    c: Keyed[C],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: Literal["start"],
    late: Late = ...,
) -> Join[tuple[A | None, B | None, C | None]]: ...
@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    c: Keyed[C],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: "Literal['dead_letter', 'drop'] | Work[tuple[A | None, B | None, C | None], Any]" = "dead_letter",
    late: Late = ...,
) -> Join[tuple[A, B, C]]: ...
@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    c: Keyed[C],
    d: Keyed[D],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: Literal["start"],
    late: Late = ...,
) -> Join[tuple[A | None, B | None, C | None, D | None]]: ...
@overload
def join(
    a: Keyed[A],
    b: Keyed[B],
    c: Keyed[C],
    d: Keyed[D],
    /,
    *,
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: "Literal['dead_letter', 'drop'] | Work[tuple[A | None, B | None, C | None, D | None], Any]" = (
        "dead_letter"
    ),
    late: Late = ...,
) -> Join[tuple[A, B, C, D]]: ...
def join(
    *sides: Keyed[Any],
    within: Seconds,
    lateness: Seconds = 0,
    on_missing: "Literal['start', 'dead_letter', 'drop'] | Work[Any, Any]" = "dead_letter",
    late: Late = "dead_letter",
) -> Join[Any]:
    """Join the events of two to four topics by key: one of each within a window makes a tuple.

    Windows are `within` (seconds or timedelta) long and lie on a fixed grid of event time: the `time` of a CloudEvent,
    else its record's timestamp. A window is over `lateness` after its end, and when all that its topics held by then
    is read. If an event is missing then, `on_missing` starts the run with None in its place, hands the tuple to another
    graph, sends what there is to the dead letters, or drops it. `late` is the answer to an event that was logged after
    its window was over, and to a second, other one of the same topic. Raises `InvalidConfig` for a window that is not
    positive, or longer than 30 days, and for a topic without `.by(key)`.
    """
    if not 2 <= len(sides) <= 4:  # noqa: PLR2004 - what the types above say
        raise InvalidConfig(f"join() of {len(sides)} topics: give two to four, each with .by(key)")
    for side in sides:
        if not isinstance(side, Keyed):
            raise InvalidConfig(f"join() of {side!r}: say what joins its events, by Topic(...).by(key)")
    _check("join", "within", within)
    if not 0 <= milliseconds(lateness) <= _LONGEST_MS:
        raise InvalidConfig(f"join(lateness={lateness}): give 0 to 30 days")
    return Join(
        "join",
        sides,
        within_ms=milliseconds(within),
        lateness_ms=milliseconds(lateness),
        on_missing=on_missing,
        late=late,
    )


def batch(on: Keyed[E] | Topic[E], /, *, size: int, within: Seconds) -> Together[list[E]]:
    """Up to `size` events of a topic (with one key, if it has one) start one run, with their list.

    A batch that is not full starts when its first event has waited `within` (seconds or timedelta). Raises
    `InvalidConfig` for a size that is not from 1 to 10,000, or a time that is not positive.
    """
    if not 1 <= size <= _SIZE_MOST:
        raise InvalidConfig(f"batch(size={size}): give 1 to {_SIZE_MOST}")
    _check("batch", "within", within)
    return Together("batch", (_keyed("batch", on),), within_ms=milliseconds(within), size=size)


def debounce(on: Keyed[E] | Topic[E], /, *, quiet: Seconds, most: Seconds | None = None) -> Together[E]:
    """The last of several events of a topic (with one key, if it has one) starts a run, once none has come for `quiet`.

    Events that keep coming start one after `most` all the same (seconds or timedelta; without it, never). Raises
    `InvalidConfig` for times that are not positive.
    """
    _check("debounce", "quiet", quiet)
    if most is not None:
        _check("debounce", "most", most)
    return Together(
        "burst",
        (_keyed("debounce", on),),
        quiet_ms=milliseconds(quiet),
        most_ms=None if most is None else milliseconds(most),
    )


def _keyed(what: str, on: Keyed[E] | Topic[E]) -> Keyed[E]:
    if isinstance(on, Topic):
        return on.by(_one_for_all)
    if not isinstance(on, Keyed):
        raise InvalidConfig(f"{what}() of {on!r}: give a Topic, or with a key Topic(...).by(key)")
    return on


def _one_for_all(event: object) -> str:
    return ""


def _check(what: str, name: str, value: Seconds) -> None:
    if not 0 < milliseconds(value) <= _LONGEST_MS:
        raise InvalidConfig(f"{what}({name}={value}): give above 0 and at most {timedelta(milliseconds=_LONGEST_MS)}")


def optional(kind: Any) -> Any:
    """The type of a value that may be None."""
    return union((kind, None))


def _tuple_of(kinds: Iterable[Any]) -> Any:
    return GenericAlias(tuple, tuple(kinds))
