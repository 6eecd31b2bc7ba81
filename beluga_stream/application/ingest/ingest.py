"""Ingest: turns the events of users' topics, and the ends of runs, into requests for runs.

Filters, mappings and idempotency keys are users' functions; one that raises sends its event to the dead
letters. The same event gives the same run id, so that a redelivery is one run. Events that start a run together with
others go to the gatherer.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from ...domain.ids import digest
from ...domain.payload import NOTHING
from ...errors import BelugaError, LogUnavailable, NotFound
from ...ports.clock import Clock
from ...ports.handlers import Deployment, Message, Trigger
from ...ports.log import Appender, Outgoing, Record
from ...ports.spans import NO_SPANS, Of, Spans
from ...ports.telemetry import NO_TELEMETRY, Telemetry
from .. import codec, tracing
from ..deadletters import dead_letter, meant_for, only_for
from ..execution.judging import said
from ..messages import Summary
from ..payloads import Payloads
from ..topics import Topics
from .arriving import arrival
from .inbound import message_of
from .requesting import Requests, called, identity_text

log = logging.getLogger("beluga_stream.ingest")


class Ingest:
    """A `Role` over every topic that triggers something, and over `beluga.runs` when a run's end does."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        deployment: Deployment,
        appender: Appender,
        payloads: Payloads,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._names = topics
        self._deployment = deployment
        self._appender = appender
        self._payloads = payloads
        self._clock = clock
        self._telemetry = telemetry
        self._spans = spans
        self._requests = Requests(topics, payloads)
        self._by_topic: dict[str, list[tuple[Trigger, int]]] = defaultdict(list)
        for trigger in deployment.triggers:
            for topic, side in _listens(trigger, topics):
                self._by_topic[topic].append((trigger, side))
        self.topics: tuple[str, ...] = tuple(self._by_topic)

    @property
    def held_back(self) -> frozenset[str]:
        """Nothing: what is taken and not done is bounded by the driver."""
        return frozenset()

    yielding = held_back

    async def acquire(self, partitions: frozenset[int]) -> None:
        """Ingest keeps nothing."""

    async def release(self, partitions: frozenset[int]) -> None:
        """Ingest keeps nothing."""

    async def close(self) -> None:
        """Ingest keeps nothing."""

    async def tend(self) -> None:
        """Ingest has no work of its own."""
        await asyncio.Event().wait()

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        """Request a run for each event and trigger that agree, or let the event go to those it waits for."""
        outputs: list[Outgoing] = []
        for record in records:
            listening = self._by_topic[record.topic]
            if record.headers and (only := meant_for(record)) is not None:
                listening = [each for each in listening if self._names.trigger(each[0].graph, each[0].name) == only]
                if not listening and only.startswith(f"{self._names.prefix}/"):
                    outputs.append(await self._refused(None, record, _gone(record, only)))
            for trigger, side in listening:
                try:
                    output = await self.answer(trigger, side, record)
                except LogUnavailable:
                    raise  # no fault of the event: it comes again
                except Exception as error:  # noqa: BLE001 - one event must not end what takes all the others
                    outputs.append(await self._refused(trigger, record, error))
                else:
                    if output is not None:
                        outputs.append(output)
                    if output is not None and trigger.kind != "gathered":
                        self._telemetry.triggered(trigger.graph, trigger.name, "started")
        if outputs:
            await self._appender.append(outputs)
        return None

    async def _refused(self, trigger: Trigger | None, record: Record, error: Exception) -> Outgoing:
        """The event as a dead letter: sent again, it is for this trigger alone."""
        known = isinstance(error, BelugaError)
        name = None if trigger is None else trigger.name
        reason = error if isinstance(error, BelugaError) else _defect(name, record, error)
        log.log(
            logging.WARNING if known else logging.ERROR,
            "refused an event: %s",
            reason,
            exc_info=None if known else error,
            extra={
                "action": "dead_letter",
                "trigger": name,
                "topic": record.topic,
                "offset": record.offset,
            },
        )
        self._telemetry.dead_letter("ingest", reason.code)
        if trigger is not None:
            self._telemetry.triggered(trigger.graph, trigger.name, "refused")
            record = only_for(record, self._names.trigger(trigger.graph, trigger.name))
        return await dead_letter(self._names.dead_letters, record, reason, self._payloads)

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """Ingest keeps nothing."""

    async def answer(self, trigger: Trigger, side: int, record: Record) -> Outgoing | None:
        """What a record leads to by one trigger: a start, an event on its way to others, or nothing.

        `side` is which of the trigger's topics it is from. Raises `BelugaError` for an event that must be refused.
        """
        now = self._clock.now_ms()
        if trigger.kind == "gathered":
            return await arrival(trigger, side, record, self._names, self._payloads, now)
        trace = tracing.trace_of(record.headers)
        if trigger.kind == "run_finished":
            found = await self._finished(trigger, record)
            if found is None:
                return None
            message, identity, from_run = found
            trace = trace or from_run
        else:
            message, identity = message_of(record, trigger.adapter)
        where, key, name = trigger.where, trigger.idempotency_key, trigger.name
        if where is not None and not called(name, "where", lambda: bool(where(message))):
            return None
        if key is not None:
            identity = called(name, "idempotency_key", lambda: identity_text(key(message)))
        value = message.data if trigger.map is None else called(name, "map", trigger.map, message)
        program = self._deployment.latest(trigger.graph)
        assert program is not None, "a trigger belongs to a deployed graph"
        facts = tracing.messaging("process", record.topic) | {
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "beluga.graph": trigger.graph,
            "beluga.trigger": name,
        }
        with self._spans.span(f"process {record.topic}", facts, of=Of(trace, "consumer")) as span:
            told = span.trace if self._spans.on else trace
            return await self._requests.start(program, name, identity, value, told, now)

    async def _finished(self, trigger: Trigger, record: Record) -> tuple[Message, str, str | None] | None:
        """The end of a run as a message, when it is one that the trigger waits for."""
        if record.value is None:
            return None
        summary: Summary = codec.summaries.decode(record.value)
        if summary.graph != trigger.topic or summary.status != trigger.status:
            return None
        adapter: TypeAdapter[Any] = trigger.adapter
        if summary.status == "succeeded":
            output = await self._payloads.load(summary.output or NOTHING)
            data = called(trigger.name, "the type", adapter.validate_python, output)
        else:
            data = None
        message = Message(str(summary.run), f"beluga/{summary.graph}", dict(summary.tags), data)
        trace = tracing.of_summary(self._spans, summary)
        return message, digest("finished", str(summary.run), str(summary.ended_ms)), trace


def _gone(record: Record, only: str) -> NotFound:
    """The record was sent again for one trigger alone, and that one is gone."""
    trigger = only.partition("/")[2]
    return NotFound(
        f"an event of {record.topic} was sent again for the trigger {trigger}, which is not deployed: deploy it and "
        f"send the event again, or discard it",
        trigger=trigger,
    )


def _defect(trigger: str | None, record: Record, error: Exception) -> BelugaError:
    """What nobody has foreseen is the engine's fault, not the event's: it may be replayed when that is mended."""
    return BelugaError(
        f"the engine failed at an event of {record.topic}, which is a defect of the engine: "
        f"{type(error).__name__}: {said(error)}; report it with the log of this process",
        trigger=trigger,
    )


def _listens(trigger: Trigger, topics: Topics) -> Iterator[tuple[str, int]]:
    """The topics whose records a trigger takes, each with the side of the trigger that it is."""
    if trigger.kind == "run_finished":
        yield topics.runs, 0
    elif trigger.kind == "topic":
        yield trigger.topic, 0
    elif trigger.gathers is not None:
        yield from ((side.topic, number) for number, side in enumerate(trigger.gathers.sides))
