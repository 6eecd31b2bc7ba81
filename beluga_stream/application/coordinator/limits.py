"""The limits that live in an owned partition, and what time does to them.

A limit lives where its id lies, like a run, in rows of its own: one for the limit and one for each ticket, so that an
event writes a few rows however many wait. A slot that is given out is an intent: whoever takes over the partition tells
it again unless the event that led to it was acknowledged.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...domain.events import LimitDue, LimitEvent, SlotGranted, SlotReturned, SlotWanted
from ...domain.ids import LimitId
from ...domain.slots import LimitRow, SlotRow, Slots
from ...ports.clock import Clock
from ...ports.log import Appender, Outgoing
from .. import codec
from ..elapsed import has_elapsed
from ..topics import Topics
from .timers import TOLD_AGAIN_MS

PREFIX = "~limit/"
"""Begins the keys of their rows: a limit's id, and for each ticket `/` and the ticket after it."""

_SOONEST_MS = 10
"""Time between two looks at what is due, at least."""

_WATCHED_MS = 20
"""Time between two looks, at most, while somebody waits for a rate: what is due next is known by the next event."""


@dataclass(slots=True)
class _Read:
    """A limit as its rows are read, in whatever order they lie in the table."""

    row: LimitRow | None = None
    tickets: list[SlotRow] = field(default_factory=list)


class Limits:
    """The limits of one partition. `rows` are the changes that the table has not yet got."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self._of: dict[LimitId, Slots] = {}
        self._read: dict[LimitId, _Read] = {}
        self._due: list[tuple[int, LimitId]] = []
        self._armed: dict[LimitId, int] = {}
        self._told: dict[LimitId, int] = {}
        """Whose `LimitDue` is on its way, and when another is needed if it has not come; the first one first."""
        self._paced: set[LimitId] = set()
        """Those with a rate that somebody waits for."""

    @property
    def all(self) -> Collection[Slots]:
        """Those that have a holder, somebody who waits, or a period that is not over."""
        return self._of.values()

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """`rows` in an order in which they may be cut off anywhere: no ticket is ever there without its limit."""
        of_limits = {key: value for key, value in self.rows.items() if "/" not in key.removeprefix(PREFIX)}
        yield from ((key, value) for key, value in of_limits.items() if value is not None)
        yield from ((key, value) for key, value in self.rows.items() if key not in of_limits)
        yield from ((key, value) for key, value in of_limits.items() if value is None)

    def recover(self, key: str, value: bytes) -> None:
        """Take in a row of the table; `recovered` ends it."""
        name, of_ticket, _ = key.removeprefix(PREFIX).partition("/")
        read = self._read.setdefault(LimitId(f"{PREFIX}{name}"), _Read())
        if of_ticket:
            read.tickets.append(codec.slots.decode(value))
        else:
            read.row = codec.limits.decode(value)

    def recovered(self) -> None:
        """All rows are taken in."""
        for limit, read in self._read.items():
            assert read.row is not None, "the limit's own row is written before its first ticket's"
            slots = self._of[limit] = Slots(limit, read.row, read.tickets)
            self._arm(slots)
        self._read.clear()

    def unconfirmed(self, committed: int, now_ms: int) -> Iterator[SlotGranted]:
        """The slots that were given out by events which nobody has acknowledged: they may not have been told."""
        for slots in self._of.values():
            for row in slots.held.values():
                if row.granted is not None and row.granted >= committed:
                    yield _granted(slots.id, row, now_ms)

    def apply(self, event: LimitEvent, offset: int, now_ms: int) -> Sequence[SlotGranted]:
        """Take an event into the batch; what is given out by it."""
        slots = self._of.get(event.key)
        if isinstance(event, LimitDue):
            self._told.pop(event.key, None)
        if slots is None:
            if not isinstance(event, SlotWanted):
                return ()
            slots = Slots(event.key, LimitRow(event.limit, event.value))
        before = slots.row if event.key in self._of else None
        outcome = slots.apply(event, now_ms, offset)
        for ticket, row in outcome.changed:
            self.rows[f"{slots.id}/{ticket}"] = None if row is None else codec.slots.encode(row)
        if slots.is_over(now_ms):
            self._of.pop(slots.id, None)
            self._armed.pop(slots.id, None)
            self._paced.discard(slots.id)
            self.rows[slots.id] = None
        else:
            self._of[slots.id] = slots
            if slots.row is not before:
                self.rows[slots.id] = codec.limits.encode(slots.row)
            self._arm(slots)
        return [_granted(slots.id, row, now_ms) for row in outcome.granted]

    @property
    def is_paced(self) -> bool:
        """Whether somebody waits for a rate."""
        return bool(self._paced)

    def next_due_ms(self) -> int | None:
        """When a limit is to be looked at."""
        while self._due and self._armed.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_due(self, now_ms: int) -> list[LimitId]:
        """Take the limits that are to be looked at by now."""
        found: list[LimitId] = []
        while self._told and (told := next(iter(self._told.items())))[1] <= now_ms:
            del self._told[told[0]]
            found.append(told[0])
        while (due := self.next_due_ms()) is not None and due <= now_ms:
            _, limit = heapq.heappop(self._due)
            del self._armed[limit]
            found.append(limit)
        self._told.update(dict.fromkeys(found, now_ms + TOLD_AGAIN_MS))
        return found

    def _arm(self, slots: Slots) -> None:
        if slots.waiting and slots.row.limit.rate is not None:
            self._paced.add(slots.id)
        else:
            self._paced.discard(slots.id)
        due = slots.due_ms
        if due is None or slots.id in self._told:
            self._armed.pop(slots.id, None)
        elif self._armed.get(slots.id) != due:
            self._armed[slots.id] = due
            heapq.heappush(self._due, (due, slots.id))


class HasLimits(Protocol):
    """An owned partition."""

    @property
    def limits(self) -> Limits: ...


class LimitTimers:
    """Makes events of what is due to limits. Such an event says nothing but that it is late enough.

    So none has to wait until its partition is caught up, as a run's deadlines have to: it takes nothing from anybody.
    """

    def __init__(self, topics: Topics, appender: Appender, clock: Clock) -> None:
        self._events = topics.run_events
        self._appender = appender
        self._clock = clock

    async def rest(self, owned: Mapping[int, HasLimits], tick_ms: int) -> None:
        """Sleep for a tick, but for what is due meanwhile: a rate is finer than a tick."""
        begin = now = self._clock.now_ms()
        end = begin + tick_ms
        while not has_elapsed(begin, now, tick_ms):
            wake = end
            for partition in owned.values():
                due = partition.limits.next_due_ms()
                if due is not None and due < wake:
                    wake = due
                if partition.limits.is_paced:
                    wake = min(wake, now + _WATCHED_MS)
            await self._clock.sleep(max(wake - now, _SOONEST_MS) / 1000)
            now = self._clock.now_ms()
            await self._look(owned, now)

    async def _look(self, owned: Mapping[int, HasLimits], now: int) -> None:
        events = [
            Outgoing(
                self._events, limit.encode(), codec.incoming.encode(LimitDue(key=limit, at_ms=now)), partition=number
            )
            for number, partition in owned.items()
            for limit in partition.limits.take_due(now)
        ]
        if events:
            await self._appender.append(events)


def told(topics: Topics, granted: Iterable[SlotGranted]) -> list[Outgoing]:
    """The records that tell runs of their slots."""
    records: list[Outgoing] = []
    for event in granted:
        key, partition = topics.place(event.key)
        records.append(Outgoing(topics.run_events, key, codec.incoming.encode(event), partition=partition))
    return records


def give_back(topics: Topics, event: SlotGranted) -> Outgoing:
    """The answer for a run that is not remembered any more: it needs no slot."""
    returned = SlotReturned(key=event.limit, at_ms=event.at_ms, run=event.run, node=event.node, number=event.number)
    key, partition = topics.place(event.limit)
    return Outgoing(topics.run_events, key, codec.incoming.encode(returned), partition=partition)


def _granted(limit: LimitId, row: SlotRow, now_ms: int) -> SlotGranted:
    return SlotGranted(run=row.run, key=row.reply, at_ms=now_ms, limit=limit, node=row.node, number=row.number)
