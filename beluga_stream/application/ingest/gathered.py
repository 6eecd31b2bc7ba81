"""What follows when a gathering has ended: a start, the answer to one that lacks an event, or dead letters."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ...domain.gathering import EventArrived, FiredRow, ItemRow, Refused, Window
from ...domain.payload import NOTHING
from ...domain.ticks import ScheduleRow
from ...errors import BelugaError, InvalidState, KeyMissing, LogUnavailable, NotFound, TimedOut
from ...ports.handlers import Deployment, Gathers, Trigger
from ...ports.log import Outgoing, Record
from ...ports.spans import Of, Spans
from ...ports.telemetry import Telemetry
from ..deadletters import dead_letter, only_for
from ..payloads import Payloads
from ..topics import Topics
from ..tracing import links_of
from .arriving import record_of
from .gatherings import Firing
from .inbound import message_of
from .requesting import Requests, called
from .schedules import moment_of

log = logging.getLogger("beluga_stream.gatherer")


class Gathered:
    """Makes the records that a gathering's end leads to."""

    def __init__(
        self, topics: Topics, deployment: Deployment, payloads: Payloads, telemetry: Telemetry, spans: Spans
    ) -> None:
        self._topics = topics
        self._deployment = deployment
        self._payloads = payloads
        self._telemetry = telemetry
        self._spans = spans
        self._requests = Requests(topics, payloads)
        self._triggers: Mapping[tuple[str, str], Trigger] = {
            (trigger.graph, trigger.name): trigger for trigger in deployment.triggers if trigger.is_kept
        }

    async def start(self, firing: Firing, items: Sequence[ItemRow], now_ms: int) -> list[Outgoing]:
        """What its trigger makes of it. Whatever is wrong with it sends its events to the dead letters."""
        row = firing.row
        trigger = self._triggers[row.graph, row.trigger]
        assert trigger.gathers is not None, "only those are kept"
        records = [await self._record(item) for item in items]
        missing = trigger.gathers.missing
        if not row.complete:
            self._telemetry.triggered(row.graph, row.trigger, "missing")
        if not row.complete and missing == "drop":
            return []
        if not row.complete and missing == "dead_letter":
            lacking = _incomplete(trigger.gathers, row, items)
            return await self._letters_of(records, lacking, row.graph, row.trigger)
        try:
            started = [await self._request(trigger, row, items, records, now_ms)]
        except LogUnavailable:
            raise  # no fault of the events
        except BelugaError as error:
            return await self._letters_of(records, error, row.graph, row.trigger)
        except Exception as error:
            # It would come again, and end every process that takes it.
            log.exception("a defect of the engine: no run of %s is started", row.graph, extra={"action": "dead_letter"})
            defect = BelugaError(f"the engine could not start a run of it: {error!r}", trigger=row.trigger)
            return await self._letters_of(records, defect, row.graph, row.trigger)
        self._telemetry.triggered(row.graph, row.trigger, "started")
        return started

    async def ticked(self, row: ScheduleRow, now_ms: int) -> list[Outgoing]:
        """The starts of a schedule's times. When no input can be made of one, that is logged as an error."""
        trigger = self._triggers[row.graph, row.trigger]
        program, schedule = self._deployment.latest(row.graph), trigger.schedule
        assert program is not None, "a trigger belongs to a deployed graph"
        assert schedule is not None, "nothing else has ticks"
        starts: list[Outgoing] = []
        for tick_ms in row.ticks:
            try:
                value = called(trigger.name, "input", schedule.input, moment_of(schedule, tick_ms))
                starts.append(await self._requests.start(program, trigger.name, str(tick_ms), value, None, now_ms))
                self._telemetry.triggered(row.graph, row.trigger, "started")
            except LogUnavailable:
                raise  # no fault of the schedule
            except BelugaError as error:
                # There is no event that could be a dead letter: `beluga backfill` starts what was left out.
                log.error(  # noqa: TRY400 - the user's error is told, and our own traceback is of no use
                    "graph %s does not start for %s: %s",
                    row.graph,
                    moment_of(schedule, tick_ms).isoformat(),
                    error,
                    extra={"action": "schedule_failed", "trigger": trigger.name, "graph": row.graph, "tick": tick_ms},
                )
        return starts

    async def refuse(self, event: EventArrived, why: Refused) -> list[Outgoing]:
        """The declared answer to an event that its window does not take."""
        trigger = self._triggers.get((event.graph, event.trigger))
        self._telemetry.triggered(event.graph, event.trigger, "late")
        if trigger is not None and trigger.gathers is not None and trigger.gathers.late == "drop":
            return []
        record = record_of(event.place, await self._payloads.load(event.record))
        window = f"the window of {event.trigger} for key {event.of!r}"
        if why == "late":
            error: BelugaError = TimedOut(f"{window} was over when this event was logged", trigger=event.trigger)
        else:
            error = InvalidState(
                f"{window} has an event of {record.topic} already, or has ended", trigger=event.trigger
            )
        return await self._letters_of([record], error, event.graph, event.trigger)

    async def _request(
        self, trigger: Trigger, row: FiredRow, items: Sequence[ItemRow], records: Sequence[Record], now_ms: int
    ) -> Outgoing:
        gathers = trigger.gathers
        assert gathers is not None, "only those are kept"
        found = [
            (item.side, message_of(record, gathers.sides[item.side].adapter)[0].data)
            for item, record in zip(items, records, strict=True)
        ]
        value = _together(gathers, found)
        graph = trigger.graph
        if not row.complete and gathers.graph is not None:
            graph = gathers.graph
        elif trigger.map is not None:
            value = called(trigger.name, "map", trigger.map, value)
        program = self._deployment.latest(graph)
        assert program is not None, "a trigger belongs to a deployed graph, and so does its other one"
        traces = links_of([item.trace for item in items])
        trace, others = (traces[0], traces[1:]) if traces else (None, ())
        facts: dict[str, str | int] = {"beluga.graph": graph, "beluga.trigger": trigger.name}
        of = Of(trace, "consumer", others)
        with self._spans.span("trigger.gather", facts, of=of) as span:
            told = span.trace if self._spans.on else trace
            return await self._requests.start(program, trigger.name, identity_of(row), value, told, now_ms)

    async def _record(self, item: ItemRow) -> Record:
        """The event as it came. Of one that cannot be had only its place is left; what is wrong is said by reading it.

        Raises `LogUnavailable`, and `KeyMissing`: this process must not go on with what another can read.
        """
        try:
            return record_of(item.place, await self._payloads.load(item.record or NOTHING))
        except (LogUnavailable, KeyMissing):
            raise
        except NotFound:
            log.exception("the event %s is kept no longer", item.place, extra={"action": "blob_gone"})
        except Exception:
            log.exception("the event %s cannot be read", item.place, extra={"action": "blob_gone"})
        return record_of(item.place, None)

    async def _letters_of(
        self, records: Sequence[Record], error: BelugaError, graph: str, trigger: str
    ) -> list[Outgoing]:
        """The events as dead letters: sent again, they are for this trigger alone."""
        log.warning("refused %d events: %s", len(records), error, extra={"action": "dead_letter", "trigger": trigger})
        for _ in records:
            self._telemetry.dead_letter("gatherer", error.code)
        found = [only_for(record, self._topics.trigger(graph, trigger)) for record in records]
        return [await dead_letter(self._topics.dead_letters, record, error, self._payloads) for record in found]


def identity_of(row: FiredRow) -> str:
    """What tells the run apart: key and window; of a batch its first event, which is in no other."""
    if isinstance(row.rule, Window):
        return f"{row.of}\x1f{row.rule.start_ms}+{row.rule.end_ms - row.rule.start_ms}"
    return f"{row.of}\x1f{row.events[0]}"


def _together(gathers: Gathers, found: Sequence[tuple[int, Any]]) -> Any:
    """What the events are together: a join's tuple, a batch's list, the last of a burst."""
    match gathers.kind:
        case "join":
            sides = dict(found)
            return tuple(sides.get(side) for side in range(len(gathers.sides)))
        case "batch":
            return [data for _, data in found]
        case "burst":
            return found[-1][1]


def _incomplete(gathers: Gathers, row: FiredRow, items: Sequence[ItemRow]) -> BelugaError:
    there = {item.side for item in items}
    lacking = ", ".join(side.topic for number, side in enumerate(gathers.sides) if number not in there)
    return TimedOut(
        f"the window of {row.trigger} for key {row.of!r} ended without an event of {lacking}", trigger=row.trigger
    )
