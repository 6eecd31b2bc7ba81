"""Events that start one run together: a window of a join, a batch, the last of a burst.

A gathering is a state machine of its own beside the runs': it is told what happens by `EventArrived` and
`GatheringDue`, and says when it is full or its time is over. It has no clock: time is an argument.

1. *A window of a join* takes one event of each side. It ends when it has all of them, or when its time is over; from
   then on it takes nothing. An event is late when it was put into the log after the window's last moment. That can be
   told from the event alone, so a replay says the same.
2. *A batch* ends when it is full, or when the first of its events has waited long enough. The next event begins a new
   one.
3. *A burst* ends when nothing has come for a while, or when it has gone on for too long; its last event counts.

What has come before is told by its caller (`known`), who remembers events for longer than a gathering lasts.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from .frozen import Frozen, replace
from .ids import GatheringId
from .payload import Payload


class Window(Frozen, tag_field="kind", tag="window"):
    """One window of a join of `sides` topics. Its times are event times, in epoch milliseconds."""

    sides: int
    start_ms: int
    end_ms: int
    lateness_ms: int = 0

    @property
    def last_ms(self) -> int:
        """What is put into the log from then on is late."""
        return self.end_ms + self.lateness_ms


class Batch(Frozen, tag_field="kind", tag="batch"):
    """Up to `size` events, the first of which waits for `wait_ms` at most."""

    size: int
    wait_ms: int


class Burst(Frozen, tag_field="kind", tag="burst"):
    """Events with less than `quiet_ms` between them, for `most_ms` at most (None: for as long as they come)."""

    quiet_ms: int
    most_ms: int | None = None


Rule: TypeAlias = Window | Batch | Burst


class GatheringEvent(Frozen, kw_only=True, tag_field="type"):
    """Base of what happens to a gathering. `key` is its id, and the key of the record; times in epoch milliseconds."""

    key: GatheringId
    at_ms: int

    @property
    def type(self) -> str:
        """What the JSON's member of this name holds."""
        return str(self.__struct_config__.tag)


class EventArrived(GatheringEvent, kw_only=True, tag="event_arrived"):
    """An event of a user's topic that belongs to this gathering.

    `event` is a hash of its identity, `digest` one of its data, `logged_ms` when it was put into its topic;
    `record` is the whole of it as it came. `place` is `topic/partition/offset`.
    """

    graph: str
    trigger: str
    of: str
    """The value of the key that its user's function has found in it."""

    rule: Rule
    side: int = 0
    event: str
    digest: str
    logged_ms: int
    place: str
    record: Payload
    trace: str | None = None


class GatheringDue(GatheringEvent, kw_only=True, tag="gathering_due"):
    """Its time is over: all that lay in its topics by then has been read."""

    due_ms: int


class ItemRow(Frozen, kw_only=True):
    """What is kept of one event. `until_ms`: it is told of already, and only remembered until then."""

    order: int = 0
    side: int = 0
    digest: str = ""
    place: str = ""
    record: Payload | None = None
    trace: str | None = None
    until_ms: int | None = None


class GatheringRow(Frozen, kw_only=True):
    """What is kept of a gathering. `until_ms`: its window has ended, and is remembered until then."""

    graph: str
    trigger: str
    of: str
    rule: Rule
    begun_ms: int
    due_ms: int
    until_ms: int | None = None


class FiredRow(Frozen, kw_only=True):
    """A gathering that has ended: what is decided and not yet known to be sent. `events` in the order of the input.

    `parked`: no deployed code knew its trigger.
    """

    graph: str
    trigger: str
    of: str
    rule: Rule
    events: tuple[str, ...]
    complete: bool
    parked: bool = False


Refused: TypeAlias = Literal["late", "surplus"]


class Outcome(NamedTuple):
    """What an event led to.

    `kept`: the event is one of the gathering's now. `dropped`: an event that a later one stands for. `fired`: it has
    ended with these. `refused`: why the event is none of it.
    """

    kept: bool = False
    dropped: str | None = None
    fired: FiredRow | None = None
    refused: Refused | None = None


class Member(NamedTuple):
    """An event that a gathering has, as far as it matters."""

    order: int
    side: int
    digest: str


_NOTHING = Outcome()


class Gathering:
    """One gathering; `row` and `members` are what is kept of it."""

    def __init__(self, gathering: GatheringId, row: GatheringRow, members: Iterable[tuple[str, Member]] = ()) -> None:
        self.id = gathering
        self.row = row
        self.members = dict(sorted(members, key=lambda each: each[1].order))
        self._order = max((member.order for member in self.members.values()), default=0)

    @staticmethod
    def begun_by(event: EventArrived, now_ms: int) -> "Gathering":
        """A new one, for its first event."""
        # Of batches and bursts it is known when the first event is taken.
        due_ms = event.rule.last_ms if isinstance(event.rule, Window) else now_ms
        row = GatheringRow(
            graph=event.graph, trigger=event.trigger, of=event.of, rule=event.rule, begun_ms=now_ms, due_ms=due_ms
        )
        return Gathering(event.key, row)

    @property
    def is_open(self) -> bool:
        """Whether it waits for more, and for its time to be over."""
        return self.row.until_ms is None and bool(self.members)

    @property
    def is_full(self) -> bool:
        """Whether it need not wait any longer."""
        match self.row.rule:
            case Window(sides=most) | Batch(size=most):
                return self.is_open and len(self.members) >= most
            case Burst():
                return False

    def arrive(self, event: EventArrived, now_ms: int) -> Outcome:
        """Take an event that has not come before."""
        match self.row.rule:
            case Window() as window:
                return self._take_side(event, window)
            case Batch() as batch:
                return self._take(event, now_ms, batch)
            case Burst() as burst:
                return self._stand_for(event, now_ms, burst)

    def due(self, due_ms: int) -> Outcome:
        """Its time is over, if this is still its time."""
        if not self.is_open or due_ms != self.row.due_ms:
            return _NOTHING
        return Outcome(fired=self._fire())

    def forget_until(self, until_ms: int) -> None:
        """Its window has ended; it is remembered until then."""
        self.row = replace(self.row, until_ms=until_ms)

    def _take_side(self, event: EventArrived, window: Window) -> Outcome:
        if any(member.side == event.side and member.digest == event.digest for member in self.members.values()):
            return _NOTHING  # the same again, under another identity
        if event.logged_ms >= window.last_ms:
            return Outcome(refused="late")
        if self.row.until_ms is not None or any(member.side == event.side for member in self.members.values()):
            return Outcome(refused="surplus")
        self._add(event)
        return Outcome(kept=True, fired=self._fire() if self.is_full else None)

    def _take(self, event: EventArrived, now_ms: int, batch: Batch) -> Outcome:
        # A crash may have come between its last event and its end.
        before = self._fire() if self.is_full else None
        if not self.members:
            self.row = replace(self.row, rule=event.rule, begun_ms=now_ms, due_ms=now_ms + batch.wait_ms)
        self._add(event)
        return Outcome(kept=True, fired=before or (self._fire() if self.is_full else None))

    def _stand_for(self, event: EventArrived, now_ms: int, burst: Burst) -> Outcome:
        before = next(iter(self.members), None)
        begun_ms = now_ms if before is None else self.row.begun_ms
        latest = now_ms + burst.quiet_ms if burst.most_ms is None else begun_ms + burst.most_ms
        self.row = replace(
            self.row, rule=event.rule, begun_ms=begun_ms, due_ms=max(now_ms, min(now_ms + burst.quiet_ms, latest))
        )
        self.members.clear()
        self._add(event)
        return Outcome(kept=True, dropped=before)

    def _add(self, event: EventArrived) -> None:
        self._order += 1
        self.members[event.event] = Member(self._order, event.side, event.digest)

    def _fire(self) -> FiredRow:
        row = self.row
        events = sorted(self.members, key=lambda each: (self.members[each].side, self.members[each].order))
        complete = not isinstance(row.rule, Window) or len(events) == row.rule.sides
        if not isinstance(row.rule, Window):
            self.members = {}
        return FiredRow(
            graph=row.graph, trigger=row.trigger, of=row.of, rule=row.rule, events=tuple(events), complete=complete
        )
