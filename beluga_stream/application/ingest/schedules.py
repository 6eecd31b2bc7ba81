"""The schedules of one owned partition: when each is due, and what is kept of it.

Times are cron's, by CronSim, which does as Debian's cron does when clocks change: a job at a time that is skipped runs
right after, one at a time that comes twice runs once, and what runs each hour or minute goes by real time.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

from ...domain.frozen import replace
from ...domain.ids import GatheringId, digest
from ...domain.ticks import ScheduleRow, TicksDue, tick
from ...ports.handlers import Schedule
from .. import codec
from ..coordinator.timers import TOLD_AGAIN_MS

PREFIX = "~schedule/"
"""Begins the keys of their rows; no gathering's id does."""

ON_TIME_MS = 60_000
"""A tick that is missed by more than this is one for the catch-up policy."""

_AT_A_TIME = 100
"""Most runs that one event starts; what is left follows with the next look."""


@lru_cache(4_096)
def schedule_id(graph: str, trigger: str) -> GatheringId:
    """The key of a schedule's events, and with the prefix of its row."""
    return GatheringId(digest("schedule", graph, trigger))


def due_ticks(schedule: Schedule, name: str, after_ms: int, now_ms: int) -> tuple[int, ...]:
    """The ticks to start runs for now, by the catch-up policy: in order, some at a time."""
    if schedule.catch_up == "all":
        due = (at_ms for at_ms, _ in _due(schedule, name, after_ms, now_ms))
        return tuple(islice(due, _AT_A_TIME))
    # No tick before that is on time.
    begin_ms = max(after_ms, now_ms - ON_TIME_MS - schedule.jitter_ms - 1)
    found = list(_due(schedule, name, begin_ms, now_ms))
    on_time = tuple(at_ms for at_ms, fires_ms in found if fires_ms >= now_ms - ON_TIME_MS)
    before = any(_up_to(schedule, after_ms, begin_ms))
    if schedule.catch_up == "skip" or not (before or len(on_time) < len(found)):
        return on_time
    if found:
        return (found[-1][0],)
    return tuple(_up_to(schedule, max(after_ms, _before_last(schedule, begin_ms)), begin_ms))[-1:]


class Schedules:
    """The schedules of one partition. `rows` are the changes that the table has not yet got."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self._of: dict[GatheringId, ScheduleRow] = {}
        self._asked: dict[GatheringId, tuple[int | None, int]] = {}
        """What was said to be due after which time, and when it is said again if it has not been heard."""
        self._next: dict[GatheringId, tuple[int, float]] = {}
        """The first tick after the one that is dealt with: looks are many, and cron takes its time."""

    def recover(self, key: str, value: bytes) -> None:
        """Take in a row of the table."""
        self._of[GatheringId(key.removeprefix(PREFIX))] = codec.schedules.decode(value)

    def unconfirmed(self, committed: int) -> Sequence[ScheduleRow]:
        """Those whose last runs were started by an event that nobody has acknowledged."""
        return [row for row in self._of.values() if row.ticks and row.offset >= committed]

    def take_back(self, row: ScheduleRow) -> None:
        """The last runs may not have been started, and cannot be here: who knows the code says again what is due."""
        self._keep(schedule_id(row.graph, row.trigger), replace(row, until_ms=row.ticks[0] - 1, ticks=()))

    def apply(self, event: TicksDue, offset: int) -> ScheduleRow | None:
        """Take an event; the row when it starts runs."""
        row = tick(self._of.get(event.key), event, offset)
        if row is None:
            return None
        self._keep(event.key, row)
        return row if row.ticks else None

    def due(self, schedules: Mapping[tuple[str, str], Schedule], now_ms: int) -> Iterator[TicksDue]:
        """What is to be said of the schedules that are this partition's: once in a while, until it is heard."""
        for (graph, trigger), schedule in schedules.items():
            name = schedule_id(graph, trigger)
            row = self._of.get(name)
            after_ms = None if row is None else row.until_ms
            asked_ms, again_ms = self._asked.get(name, (None, now_ms))
            if asked_ms == after_ms and now_ms < again_ms:
                continue
            if after_ms is None or now_ms < self._first_after(schedule, name, after_ms):
                ticks: tuple[int, ...] = ()
            else:
                ticks = due_ticks(schedule, name, after_ms, now_ms)
            if ticks or row is None:
                self._asked[name] = after_ms, now_ms + TOLD_AGAIN_MS
                until_ms = ticks[-1] if ticks else now_ms
                yield TicksDue(
                    key=name,
                    at_ms=now_ms,
                    graph=graph,
                    trigger=trigger,
                    after_ms=after_ms,
                    ticks=ticks,
                    until_ms=until_ms,
                )

    def _keep(self, name: GatheringId, row: ScheduleRow) -> None:
        self._of[name] = row
        self.rows[f"{PREFIX}{name}"] = codec.schedules.encode(row)

    def _first_after(self, schedule: Schedule, name: GatheringId, after_ms: int) -> float:
        """The next tick, before which nothing is due; infinite when there is none."""
        known = self._next.get(name)
        if known is None or known[0] != after_ms:
            known = self._next[name] = (after_ms, next(_ticks(schedule, after_ms), math.inf))
        return known[1]


def ticks_between(schedule: Schedule, begin_ms: int, end_ms: int) -> Iterator[int]:
    """Every tick from a time up to, and without, another."""
    return takewhile(lambda at_ms: at_ms < end_ms, _ticks(schedule, begin_ms - 1))


def moment_of(schedule: Schedule, tick_ms: int) -> datetime:
    """A tick in the schedule's time zone."""
    return datetime.fromtimestamp(tick_ms / 1000, UTC).astimezone(ZoneInfo(schedule.tz))


def _ticks(schedule: Schedule, after_ms: int, *, reverse: bool = False) -> Iterator[int]:
    begin = moment_of(schedule, after_ms)
    found = (int(at.timestamp() * 1000) for at in CronSim(schedule.cron, begin, reverse=reverse))
    # In an hour that comes twice CronSim tells what was in it the first time, even if that is over.
    return found if reverse else (at_ms for at_ms in found if at_ms > after_ms)


def _up_to(schedule: Schedule, after_ms: int, end_ms: int) -> Iterator[int]:
    return takewhile(lambda at_ms: at_ms <= end_ms, _ticks(schedule, after_ms))


def _due(schedule: Schedule, name: str, after_ms: int, now_ms: int) -> Iterator[tuple[int, int]]:
    """Each tick whose run starts by now, and when that is: not before the one of the tick before it."""
    latest_ms = 0
    for at_ms in _up_to(schedule, after_ms, now_ms):
        latest_ms = max(latest_ms, _fires_ms(schedule, name, at_ms))
        if latest_ms > now_ms:
            return
        yield at_ms, latest_ms


def _before_last(schedule: Schedule, end_ms: int) -> int:
    """A time before the last tick up to this one: a minute's schedule may have missed a year of them."""
    at_ms = next(_ticks(schedule, end_ms, reverse=True), 0)
    # Clocks that change make backwards another list than forwards, by hours at most.
    return at_ms - 7_200_000


def _fires_ms(schedule: Schedule, name: str, tick_ms: int) -> int:
    """When a tick's run starts: up to the jitter later, always by the same time."""
    if schedule.jitter_ms == 0:
        return tick_ms
    return tick_ms + int(digest("jitter", name, str(tick_ms)), 16) % (schedule.jitter_ms + 1)
