"""The windows of a join over what its topics still hold: what each would have started.

The rules are the gatherer's; its clock is not needed, since an event is late by what it says itself.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NamedTuple

from ...domain.gathering import EventArrived, FiredRow, Gathering, ItemRow, Window
from ...domain.ids import GatheringId
from ...errors import BelugaError, LogUnavailable, ResourceExhausted
from ...ports.clock import Clock
from ...ports.handlers import Deployment, Trigger
from ...ports.log import Outgoing, Reader, Record
from ...ports.spans import NO_SPANS
from ...ports.telemetry import NO_TELEMETRY
from .. import codec
from ..deadletters import is_for
from ..payloads import Payloads
from ..topics import Topics
from .arriving import arrival
from .gathered import Gathered
from .gatherings import MOST, Firing

_DISORDER_MS = 3_600_000


class Ended(NamedTuple):
    """A window of a key, or an event that belongs to none, and the start that it leads to. `why` says why to none."""

    place: str
    start: Outgoing | None
    why: str = ""


class Windows:
    """Reads the topics of one join again. At most `MOST` windows of keys are held at a time."""

    def __init__(
        self,
        trigger: Trigger,
        *,
        deployment: Deployment,
        topics: Topics,
        reader: Reader,
        payloads: Payloads,
        clock: Clock,
    ) -> None:
        assert trigger.gathers is not None, "a join gathers"
        self._trigger = trigger
        self._gathers = trigger.gathers
        self._topics = topics
        self._reader = reader
        self._payloads = payloads
        self._clock = clock
        self._gathered = Gathered(topics, deployment, payloads, NO_TELEMETRY, NO_SPANS)

    async def between(self, begin_ms: int, end_ms: int) -> AsyncGenerator[Ended, None]:
        """Those that begin at or after the one time and end at or before the other.

        Raises `ResourceExhausted` for too many, and `LogUnavailable`.
        """
        now = self._clock.now_ms()
        held: dict[GatheringId, Gathering] = {}
        items: dict[GatheringId, dict[str, ItemRow]] = {}
        for side, source in enumerate(self._gathers.sides):
            async with aclosing(self._records(source.topic, begin_ms, end_ms)) as records:
                async for record in records:
                    try:
                        event = await self._event(side, record)
                    except LogUnavailable:
                        raise  # no fault of the event
                    except BelugaError:
                        yield Ended(f"{record.topic}/{record.partition}/{record.offset}", None, "refused")
                        continue
                    window = event.rule
                    assert isinstance(window, Window), "of a join"
                    if window.start_ms < begin_ms or window.end_ms > end_ms:
                        continue
                    fired = self._take(event, held, items, now)
                    if fired is not None:
                        yield await self._ended(event.key, fired, items.pop(event.key), now)
        for key, gathering in held.items():
            if gathering.is_open:
                if gathering.row.due_ms > now:
                    yield Ended(_place(gathering.row.of, gathering.row.rule), None, "not over yet")
                    continue
                fired = gathering.due(gathering.row.due_ms).fired
                assert fired is not None, "it is open, and this is its time"
                yield await self._ended(key, fired, items.pop(key), now)

    def _take(
        self,
        event: EventArrived,
        held: dict[GatheringId, Gathering],
        items: dict[GatheringId, dict[str, ItemRow]],
        now: int,
    ) -> FiredRow | None:
        gathering = held.get(event.key)
        if gathering is None:
            if len(held) >= MOST:
                raise ResourceExhausted(
                    f"more than {MOST} windows and keys of trigger {event.trigger!r} lie in this span: take less",
                    trigger=event.trigger,
                )
            gathering = Gathering.begun_by(event, now)
        if event.event in gathering.members:
            return None
        outcome = gathering.arrive(event, now)
        if not outcome.kept:
            return None
        held[event.key] = gathering
        items.setdefault(event.key, {})[event.event] = ItemRow(
            order=gathering.members[event.event].order,
            side=event.side,
            digest=event.digest,
            place=event.place,
            record=event.record,
            trace=event.trace,
        )
        if outcome.fired is not None:
            gathering.forget_until(now)
        return outcome.fired

    async def _ended(self, key: GatheringId, row: FiredRow, items: Mapping[str, ItemRow], now: int) -> Ended:
        place = _place(row.of, row.rule)
        if not row.complete and self._gathers.missing in ("dead_letter", "drop"):
            return Ended(place, None, "incomplete")
        made = await self._gathered.start(Firing(key, row), [items[event] for event in row.events], now)
        starts = [each for each in made if each.topic == self._topics.run_requests]
        return Ended(place, starts[0]) if starts else Ended(place, None, "refused")

    async def _event(self, side: int, record: Record) -> EventArrived:
        now = self._clock.now_ms()
        sent = await arrival(self._trigger, side, record, self._topics, self._payloads, now)
        event = codec.gathering_events.decode(sent.value)
        assert isinstance(event, EventArrived), "ingest sends nothing else"
        return event

    async def _records(self, topic: str, begin_ms: int, end_ms: int) -> AsyncGenerator[Record, None]:
        """The records of a topic among which events of these windows may be: neither too early for them, nor too late.

        It reads some more on both sides, since the timestamps of a topic need not be in order.
        """
        earliest = begin_ms - self._gathers.within_ms - self._gathers.lateness_ms
        begin = await self._reader.at_time(topic, earliest - _DISORDER_MS)
        end = await self._reader.at_time(topic, end_ms + self._gathers.lateness_ms + _DISORDER_MS)
        async for records in self._reader.read(topic, begin, until=end):
            for record in records:
                if is_for(record, self._topics.trigger(self._trigger.graph, self._trigger.name)):
                    yield record


def _place(of: str, rule: object) -> str:
    assert isinstance(rule, Window), "of a join"
    return f"{of} {datetime.fromtimestamp(rule.start_ms / 1000, UTC).isoformat()}"
