"""A schedule's events and row: which ticks are due is said by whoever has the clock, and counts once.

A schedule remembers the last tick that is dealt with. What is due says which tick it follows; said twice, or by an
owner that has gone, it follows none.
"""

from .frozen import Frozen, replace
from .gathering import GatheringEvent


class TicksDue(GatheringEvent, kw_only=True, tag="ticks_due"):
    """The times that a schedule starts runs for, in epoch milliseconds, after the one that was dealt with last.

    Without `after_ms` the schedule begins: it starts nothing for what lies before `until_ms`.
    """

    graph: str
    trigger: str
    after_ms: int | None = None
    ticks: tuple[int, ...] = ()
    until_ms: int


class ScheduleRow(Frozen, kw_only=True):
    """What is kept of a schedule: all up to `until_ms` is dealt with. `ticks` were started by the event at `offset`."""

    graph: str
    trigger: str
    until_ms: int
    ticks: tuple[int, ...] = ()
    offset: int = -1


def tick(row: ScheduleRow | None, event: TicksDue, offset: int) -> ScheduleRow | None:
    """The row after the event; None when it changes nothing."""
    if (None if row is None else row.until_ms) != event.after_ms:
        return None
    if row is None:
        return ScheduleRow(graph=event.graph, trigger=event.trigger, until_ms=event.until_ms)
    return replace(row, until_ms=event.until_ms, ticks=event.ticks, offset=offset)
