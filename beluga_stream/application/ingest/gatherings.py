"""The gatherings of one owned partition, with its schedules: what is kept of them, and what time does to them.

Three kinds of rows: a gathering under its id, each of its events under the id, `/e/` and the event, and each start
that is decided and not known to be sent under the id, `/f/` and the offset of the event that led to it. Events that
have been told of stay as small marks, so that they are known when they come again.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ...domain.frozen import replace
from ...domain.gathering import Burst, EventArrived, FiredRow, Gathering, GatheringDue, ItemRow, Member, Refused, Window
from ...domain.ids import GatheringId
from ...errors import ResourceExhausted
from ...ports.log import PartitionTable
from .. import codec
from ..coordinator.timers import TOLD_AGAIN_MS
from . import schedules
from .schedules import Schedules

_EVENT = "/e/"
_FIRED = "/f/"
MOST = 100_000
"""Gatherings in one partition, those that are remembered among them."""

Deployed = Callable[[str, str], bool]
"""Whether a graph's trigger is known to the code that runs here."""


class Firing(NamedTuple):
    """A gathering that has ended, under the key of its row."""

    key: str
    row: FiredRow

    @property
    def gathering(self) -> GatheringId:
        return GatheringId(self.key.partition("/")[0])


class Effect(NamedTuple):
    """What an event led to: a start, or that it was refused."""

    fired: Firing | None = None
    refused: Refused | None = None


class Gatherings:
    """See the module. `keep_ms` is how long what is over is remembered, `most` how much of it at most.

    `read` is the offset after the last record that was taken.
    """

    def __init__(self, number: int, table: PartitionTable, *, keep_ms: int, most: int, deployed: Deployed) -> None:
        self.number = number
        self.table = table
        self.read = 0
        self.schedules = Schedules()
        self._keep_ms = keep_ms
        self._most = most
        self._deployed = deployed
        self._of: dict[GatheringId, Gathering] = {}
        self._due: list[tuple[int, GatheringId]] = []
        self._told: deque[tuple[int, int, GatheringId]] = deque()
        """Whose time was said to be over, and when that is said again if it has not been heard; the first one first."""
        self._remembered: list[tuple[int, str]] = []
        self._first: dict[str, bytes | None] = {}
        self._then: dict[str, bytes | None] = {}
        self._last: dict[str, bytes | None] = {}

    @property
    def open(self) -> Sequence[Gathering]:
        """Those that wait."""
        return [gathering for gathering in self._of.values() if gathering.is_open]

    def recover(self, committed: int, now_ms: int) -> Iterator[Firing]:
        """Rebuild everything from the table; yields the starts that may not have been sent.

        Those are the ones whose events nobody has acknowledged, and those whose code is here at last.
        """
        rows: dict[GatheringId, bytes] = {}
        events: dict[GatheringId, dict[str, ItemRow]] = defaultdict(dict)
        fired: dict[GatheringId, list[Firing]] = defaultdict(list)
        for key, value in self.table.items():
            if key.startswith(schedules.PREFIX):
                self.schedules.recover(key, value)
                continue
            gathering, kind, name = _parts(key)
            if kind == _EVENT:
                events[gathering][name] = codec.items.decode(value)
            elif kind == _FIRED:
                fired[gathering].append(Firing(key, codec.fired.decode(value)))
            else:
                rows[gathering] = value
        for gathering in rows.keys() | events.keys() | fired.keys():
            self._revive(gathering, rows.get(gathering), events[gathering], fired[gathering], now_ms)
            for firing in fired[gathering]:
                items = [events[gathering].get(event) for event in firing.row.events]
                if any(item is None or item.record is None for item in items):
                    self.sent([firing], now_ms)  # a part of what is written when it is known to be sent
                elif not firing.row.parked and int(firing.key.rpartition("/")[2]) < committed:
                    self.sent([firing], now_ms)
                elif self._deployed(firing.row.graph, firing.row.trigger):
                    yield firing
                elif not firing.row.parked:
                    # Its owner knew the code, and may not have sent it; once that is acknowledged, only this says so.
                    self._then[firing.key] = codec.fired.encode(replace(firing.row, parked=True))

    def apply(self, event: EventArrived | GatheringDue, offset: int, now_ms: int) -> Effect:
        """Take an event. Raises `ResourceExhausted` when there are too many gatherings."""
        gathering = self._of.get(event.key)
        if isinstance(event, GatheringDue):
            if gathering is None:
                return Effect()
            return Effect(self._fire(gathering, gathering.due(event.due_ms).fired, offset, now_ms))
        if self._row(_event_key(event.key, event.event)) is not None:
            return Effect()
        if gathering is None:
            if len(self._of) >= MOST:
                raise ResourceExhausted(
                    f"{MOST} gatherings wait in partition {self.number}: trigger {event.trigger} of graph "
                    f"{event.graph} has too many keys for its windows",
                    graph=event.graph,
                    trigger=event.trigger,
                )
            gathering = Gathering.begun_by(event, now_ms)
        outcome = gathering.arrive(event, now_ms)
        if not outcome.kept:
            return Effect(refused=outcome.refused)
        self._of[event.key] = gathering
        item = ItemRow(
            order=gathering.members[event.event].order if event.event in gathering.members else 0,
            side=event.side,
            digest=event.digest,
            place=event.place,
            record=event.record,
            trace=event.trace,
        )
        self._then[_event_key(event.key, event.event)] = codec.items.encode(item)
        if outcome.dropped is not None:
            # Before the event that stands for it: if it came again after that one, it would be the last.
            self._remember_event(event.key, outcome.dropped, now_ms + self._keep_ms, self._first)
        self._last.pop(event.key, None)
        self._first[event.key] = codec.gatherings.encode(gathering.row)
        self._arm(gathering)
        return Effect(self._fire(gathering, outcome.fired, offset, now_ms))

    def items(self, firing: Firing) -> list[ItemRow]:
        """The events that a start is made of."""
        found = [self._row(_event_key(firing.gathering, event)) for event in firing.row.events]
        return [codec.items.decode(value) for value in found]

    def changes(self, now_ms: int) -> list[tuple[str, bytes | None]]:
        """What the table has not yet got, in an order in which it may be cut off anywhere.

        A gathering comes before its events and a start after them; a window that has ended comes after its start. What
        is known to be sent loses its events' records before its own row goes.
        """
        self._expire(now_ms)
        ended = {key: value for key, value in self._last.items() if value is not None}
        gone: dict[str, bytes | None] = {key: None for key, value in self._last.items() if value is None}
        return [*self.schedules.rows.items(), *self._first.items(), *self._then.items(), *ended.items(), *gone.items()]

    def written(self) -> None:
        """The table has got it."""
        self.schedules.rows.clear()
        self._first.clear()
        self._then.clear()
        self._last.clear()

    def sent(self, firings: Sequence[Firing], now_ms: int) -> None:
        """These starts are in the log: their events are only remembered from now on."""
        for firing in firings:
            rule = firing.row.rule
            over_ms = max(now_ms, rule.last_ms) if isinstance(rule, Window) else now_ms
            for event in firing.row.events:
                self._remember_event(firing.gathering, event, over_ms + self._keep_ms)
            self._last[firing.key] = None
            gathering = self._of.get(firing.gathering)
            if not isinstance(rule, Window) and gathering is not None and not gathering.members:
                del self._of[gathering.id]
                self._drop(gathering.id)

    def take_due(self, now_ms: int) -> list[Gathering]:
        """Take those whose time is over, and those of which that was said long ago."""
        found: list[Gathering] = []
        while self._told and self._told[0][0] <= now_ms:
            _, due_ms, name = self._told.popleft()
            gathering = self._of.get(name)
            if gathering is not None and gathering.is_open and due_ms == gathering.row.due_ms:
                found.append(gathering)
        while self._due and self._due[0][0] <= now_ms:
            due_ms, name = heapq.heappop(self._due)
            gathering = self._of.get(name)
            if gathering is not None and gathering.is_open and due_ms in (gathering.row.due_ms, _AT_ONCE):
                found.append(gathering)
        return found

    def told(self, name: GatheringId, due_ms: int, now_ms: int) -> None:
        """An event says that its time is over."""
        self._told.append((now_ms + TOLD_AGAIN_MS, due_ms, name))

    def _fire(self, gathering: Gathering, row: FiredRow | None, offset: int, now_ms: int) -> Firing | None:
        if row is None:
            return None
        if not self._deployed(row.graph, row.trigger):
            row = replace(row, parked=True)
        firing = Firing(f"{gathering.id}{_FIRED}{offset}", row)
        self._then[firing.key] = codec.fired.encode(row)
        if isinstance(row.rule, Window):
            self._close(gathering, row.rule, now_ms)
        return firing

    def _close(self, gathering: Gathering, window: Window, now_ms: int) -> None:
        until_ms = max(now_ms, window.last_ms) + self._keep_ms
        gathering.forget_until(until_ms)
        self._last[gathering.id] = codec.gatherings.encode(gathering.row)
        heapq.heappush(self._remembered, (until_ms, gathering.id))

    def _revive(
        self,
        name: GatheringId,
        value: bytes | None,
        events: dict[str, ItemRow],
        fired: Sequence[Firing],
        now_ms: int,
    ) -> None:
        """One gathering, whatever part of its last change was written."""
        for event, item in events.items():
            if item.until_ms is not None:
                heapq.heappush(self._remembered, (item.until_ms, _event_key(name, event)))
        if value is None:
            return
        row = codec.gatherings.decode(value)
        told = {event for firing in fired for event in firing.row.events}
        mine = {
            event: Member(item.order, item.side, item.digest)
            for event, item in events.items()
            if isinstance(row.rule, Window) or (item.until_ms is None and event not in told)
        }
        if isinstance(row.rule, Burst):
            for event in sorted(mine, key=lambda each: mine[each].order)[:-1]:
                del mine[event]
                self._remember_event(name, event, now_ms + self._keep_ms)
        gathering = Gathering(name, row, mine.items())
        if not mine:
            self._drop(name)
            return
        self._of[name] = gathering
        if row.until_ms is not None:
            heapq.heappush(self._remembered, (row.until_ms, name))
            for event in mine.keys() - told:
                if events[event].until_ms is None:
                    self._remember_event(name, event, row.until_ms)
        elif fired and isinstance(row.rule, Window):
            self._close(gathering, row.rule, now_ms)
        else:
            self._arm(gathering)

    def _arm(self, gathering: Gathering) -> None:
        if gathering.is_open:
            heapq.heappush(self._due, (_AT_ONCE if gathering.is_full else gathering.row.due_ms, gathering.id))

    def _remember_event(
        self, gathering: GatheringId, event: str, until_ms: int, rows: dict[str, bytes | None] | None = None
    ) -> None:
        """Let a small mark be all that is left of an event."""
        key = _event_key(gathering, event)
        value = self._row(key)
        if value is None:
            return
        item = codec.items.decode(value)
        rows = self._last if rows is None else rows
        rows[key] = codec.items.encode(ItemRow(side=item.side, digest=item.digest, until_ms=until_ms))
        self._then.pop(key, None)
        heapq.heappush(self._remembered, (until_ms, key))

    def _expire(self, now_ms: int) -> None:
        """Forget what is remembered for long enough; above the count, what is over for the longest time."""
        while self._remembered:
            until_ms, key = self._remembered[0]
            is_over = until_ms - self._keep_ms <= now_ms
            if until_ms > now_ms and not (len(self._remembered) > self._most and is_over):
                return
            heapq.heappop(self._remembered)
            self._last[key] = None
            self._of.pop(GatheringId(key), None)

    def _drop(self, gathering: GatheringId) -> None:
        self._first.pop(gathering, None)
        self._last[gathering] = None

    def _row(self, key: str) -> bytes | None:
        for rows in (self._last, self._then, self._first):
            if key in rows:
                return rows[key]
        return self.table.get(key)


_AT_ONCE = 0
"""A gathering that is full already: only what followed from that is not written."""


def _event_key(gathering: GatheringId, event: str) -> str:
    return f"{gathering}{_EVENT}{event}"


def _parts(key: str) -> tuple[GatheringId, str, str]:
    for kind in (_EVENT, _FIRED):
        gathering, found, name = key.partition(kind)
        if found:
            return GatheringId(gathering), kind, name
    return GatheringId(key), "", ""
