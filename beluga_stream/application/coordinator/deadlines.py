"""What time does to runs: deadlines that pass, and leases whose workers fall silent.

Nothing is applied here: what is due becomes an event in `run-events`, like any other. It is written
only once its partition has been read up to the end that was there when it was due, so that
completions which wait unread after an outage are not taken for expiries.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ...domain.events import LeaseExpired, TimerFired
from ...domain.ids import NodeKey, RunId
from ...domain.state import Timer
from ...ports.clock import Clock
from ...ports.log import Appender, Outgoing, Reader
from .. import codec
from .leases import Lease
from .partition import RunPartition

log = logging.getLogger("beluga_stream.coordinator")

_AT_ONCE = 1_000
"""About how many deadlines and leases of one partition are looked at together: after an outage all that it has may be
due, and to read all their runs at once would hold the process up for longer than its session lasts."""

Due: TypeAlias = Timer | tuple[RunId, NodeKey, Lease]
"""A deadline in a run's state, or a lease."""


class _Waiting(NamedTuple):
    """Something due in a partition, and how far each topic must have been read before it counts."""

    partition: int
    bounds: Mapping[str, int]
    what: Due


class Deadlines:
    """Watches the owned partitions. `topics` are those that tell of runs that go on; events go to `events`."""

    def __init__(
        self, topics: Sequence[str], events: str, *, appender: Appender, reader: Reader, clock: Clock, lease_ms: int
    ) -> None:
        self._topics = topics
        self._events = events
        self._appender = appender
        self._reader = reader
        self._clock = clock
        self._lease_ms = lease_ms
        self._waiting: list[_Waiting] = []
        self._looked_ms: int | None = None

    def forget(self, partitions: Iterable[int]) -> None:
        """These are another's now, who finds the deadlines in their states."""
        gone = set(partitions)
        self._waiting = [entry for entry in self._waiting if entry.partition not in gone]

    async def look(self, owned: Mapping[int, RunPartition], now: int) -> None:
        """One look at the clock."""
        self._forgive(owned, self._looked_ms, now)
        passed: list[tuple[int, Due]] = []
        waiting = Counter(entry.partition for entry in self._waiting)
        for number, partition in owned.items():
            most = max(0, _AT_ONCE - waiting[number])
            passed.extend((number, timer) for timer in partition.timers.due(now, most))
            passed.extend((number, silent) for silent in partition.leases.fall_silent(now, self._lease_ms, most))
        ripe: Sequence[tuple[int, Due]] = ()
        if passed or self._waiting:
            ends = {topic: await self._reader.end(topic) for topic in self._topics}
            self._forgive(owned, now, self._clock.now_ms())
            for number, what in passed:
                self._waiting.append(_Waiting(number, {topic: end[number] for topic, end in ends.items()}, what))
            ripe = self._ripe(owned, ends)
        if ripe:
            await self._appender.append([self._event(number, what, now) for number, what in ripe])
        for number, what in ripe:
            if isinstance(what, Timer) and number in owned:
                owned[number].timers.told(what, now)
        self._looked_ms = self._clock.now_ms()

    def _forgive(self, owned: Mapping[int, RunPartition], since: int | None, now: int) -> None:
        """Count as heard whoever could not be: this process stood still, or the broker was away, for so long.

        So it is when the clock was set back: nobody was heard of in times to come.
        """
        if since is not None and abs(now - since) > self._lease_ms / 2:
            for partition in owned.values():
                partition.leases.forgive(now)

    def _ripe(self, owned: Mapping[int, RunPartition], ends: Mapping[str, Mapping[int, int]]) -> list[tuple[int, Due]]:
        """Take out what has waited long enough and still holds. A log that has become shorter is read to its end."""
        ripe: list[tuple[int, Due]] = []
        still: list[_Waiting] = []
        for entry in self._waiting:
            number, bounds, what = entry
            partition = owned.get(number)
            if partition is None:
                continue
            if any(
                partition.offsets.read.get(topic, 0) < min(end, ends[topic][number]) for topic, end in bounds.items()
            ):
                still.append(entry)
            elif partition.timers.holds(what) if isinstance(what, Timer) else partition.leases.is_silent(*what):
                ripe.append((number, what))
        self._waiting = still
        return ripe

    def _event(self, number: int, what: Due, now: int) -> Outgoing:
        if isinstance(what, Timer):
            key = str(what.run).partition(".")[0]
            fired = TimerFired(
                run=what.run, key=key, at_ms=now, node=what.node, attempt=what.attempt, due_ms=what.due_ms
            )
            return Outgoing(self._events, key.encode(), codec.incoming.encode(fired), partition=number)
        run, node, lease = what
        key = str(run).partition(".")[0]
        log.warning(
            "lost the worker of %s/%s/%d: dispatching it again",
            run,
            node,
            lease.attempt,
            extra={"action": "lease_expired", "run": run, "node": node, "attempt": lease.attempt},
        )
        expired = LeaseExpired(
            run=run,
            key=key,
            at_ms=now,
            node=node,
            attempt=lease.attempt,
            incarnation=lease.incarnation,
            details=lease.details,
            begun=lease.begun,
        )
        return Outgoing(self._events, key.encode(), codec.incoming.encode(expired), partition=number)
