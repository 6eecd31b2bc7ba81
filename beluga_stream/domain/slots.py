"""The slots of one limit: who holds one, who waits in which order, and when the next may be given out.

A state machine of its own beside the runs': it is told what happens by `SlotWanted`, `SlotReturned` and `LimitDue`,
and says who is granted a slot. It has no clock: time is an argument.

1. *A ticket is held at most once.* Run, node and number name it; to ask again for a slot that one has, or waits for,
   changes nothing, nor does it to give back a slot that one does not hold.
2. *A ticket that comes late is harmless.* A request that is repeated after its slot was given back is taken for a new
   one; its run answers the grant by giving it back, as it does with all that it does not wait for. So nothing needs to
   be remembered of holders that are gone, and no slot leaks.
3. *First come, first served*, and a slot that is free is given out in the event that made it so.

The rate is kept by the generic cell rate algorithm (ITU-T I.371, annex A), in which one number, the theoretical
arrival time, holds all that was given out: one slot each `per_ms / rate`, with a tenth of the rate ahead at most. So
no period sees more than a tenth above the rate, and a timer that is late by a twentieth of the period costs nothing.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from .events import LimitDue, LimitEvent, SlotReturned, SlotWanted
from .frozen import Frozen, replace
from .ids import LimitId, NodeKey, RunId
from .limit import Limit

_AHEAD = 10
"""A limit gives out this part of its rate ahead of its time, at most: a tenth."""


class Ticket(NamedTuple):
    """Who asks for a slot: a run, or one of its nodes. `number` tells their requests apart."""

    run: RunId
    node: NodeKey | None
    number: int

    def __str__(self) -> str:
        return f"{self.run}/{self.node or ''}/{self.number}"


class SlotRow(Frozen):
    """What is kept of one ticket. `reply` is its run's record key.

    `order` is its place in the line. `granted` is the offset of the event that gave it a slot; None: it waits.
    """

    run: RunId
    reply: str
    node: NodeKey | None
    number: int
    order: int
    granted: int | None = None

    @property
    def ticket(self) -> Ticket:
        return Ticket(self.run, self.node, self.number)


class LimitRow(Frozen):
    """What is kept of a limit itself: as the last who asked declared it, its key's value, and its arrival time."""

    limit: Limit
    value: str
    arrival_ms: float = 0.0


class Outcome(NamedTuple):
    """What an event led to. `changed` are the tickets whose rows are others now (None: gone)."""

    granted: tuple[SlotRow, ...] = ()
    changed: tuple[tuple[Ticket, SlotRow | None], ...] = ()


class Slots:
    """One limit for one value of its key."""

    def __init__(self, limit: LimitId, row: LimitRow, rows: Iterable[SlotRow] = ()) -> None:
        self.id = limit
        self.row = row
        self.held: dict[Ticket, SlotRow] = {}
        self.waiting: OrderedDict[Ticket, SlotRow] = OrderedDict()
        self._order = 0
        for each in sorted(rows, key=lambda row: row.order):
            (self.waiting if each.granted is None else self.held)[each.ticket] = each
            self._order = each.order

    def apply(self, event: LimitEvent, now_ms: int, offset: int) -> Outcome:
        """What the event changes. `offset` is where it lies in the log."""
        match event:
            case SlotWanted():
                return self._wanted(event, now_ms, offset)
            case SlotReturned():
                return self._returned(Ticket(event.run, event.node, event.number), now_ms, offset)
            case LimitDue():
                granted = self._give_out(now_ms, offset)
                return Outcome(granted, tuple((row.ticket, row) for row in granted))

    def is_over(self, now_ms: int) -> bool:
        """Whether nothing is lost when the limit is forgotten."""
        return not self.held and not self.waiting and self.row.arrival_ms <= now_ms

    @property
    def due_ms(self) -> int | None:
        """When to look at it again though nothing happens: the next slots may be given out then, or it is over."""
        limit = self.row.limit
        if not self.waiting:
            return None if self.held else math.ceil(self.row.arrival_ms)
        if limit.rate is None or not self._has_room():
            return None
        # Several at a time: the half of what may be ahead, so that the timer may be late by the other half.
        together = min(len(self.waiting), max(1, self._ahead() // 2))
        return math.ceil(self.row.arrival_ms + (together - self._ahead()) * limit.per_ms / limit.rate)

    def _wanted(self, event: SlotWanted, now_ms: int, offset: int) -> Outcome:
        ticket = Ticket(event.run, event.node, event.number)
        if ticket in self.held or ticket in self.waiting:
            return Outcome()
        if event.limit != self.row.limit:
            self.row = replace(self.row, limit=event.limit)
        self._order += 1
        row = SlotRow(event.run, event.reply, event.node, event.number, self._order)
        self.waiting[ticket] = row
        granted = self._give_out(now_ms, offset)
        return Outcome(granted, tuple({ticket: row, **{each.ticket: each for each in granted}}.items()))

    def _returned(self, ticket: Ticket, now_ms: int, offset: int) -> Outcome:
        known = self.held.pop(ticket, None) or self.waiting.pop(ticket, None)
        # Also for one that is gone: what was kept of this event may have been cut off before the next one's turn.
        granted = self._give_out(now_ms, offset)
        gone: tuple[tuple[Ticket, None], ...] = ((ticket, None),) if known else ()
        return Outcome(granted, (*gone, *((row.ticket, row) for row in granted)))

    def _give_out(self, now_ms: int, offset: int) -> tuple[SlotRow, ...]:
        granted: list[SlotRow] = []
        while self.waiting and self._has_room() and self._is_time(now_ms):
            ticket, row = self.waiting.popitem(last=False)
            self.held[ticket] = held = replace(row, granted=offset)
            granted.append(held)
        return tuple(granted)

    def _has_room(self) -> bool:
        at_once = self.row.limit.at_once
        return at_once is None or len(self.held) < at_once

    def _ahead(self) -> int:
        return max(1, (self.row.limit.rate or 0) // _AHEAD)

    def _is_time(self, now_ms: int) -> bool:
        """Take one from the rate, if it has one."""
        limit = self.row.limit
        if limit.rate is None:
            return True
        interval = limit.per_ms / limit.rate
        if self.row.arrival_ms > now_ms + self._ahead() * interval:
            # No slot of this rate leads so far ahead: it was another rate, or a clock that was ahead.
            self.row = replace(self.row, arrival_ms=now_ms + self._ahead() * interval)
        if now_ms < self.row.arrival_ms - (self._ahead() - 1) * interval:
            return False
        self.row = replace(self.row, arrival_ms=max(float(now_ms), self.row.arrival_ms) + interval)
        return True
