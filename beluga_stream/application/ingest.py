"""Ingest: turns the events of users' topics, and the ends of runs, into requests for runs.

Filters, mappings and idempotency keys are users' functions; one that raises sends its event to the dead
letters. The same event gives the same run id, so that a redelivery is one run.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from typing import Any

from pydantic import TypeAdapter

from ..domain.events import RunRequested
from ..domain.ids import digest, run_id
from ..domain.payload import NOTHING
from ..errors import BelugaError, ExecutionFailed, LogUnavailable
from ..ports.clock import Clock
from ..ports.handlers import Deployment, Message, Program, Trigger
from ..ports.log import Appender, Outgoing, Record
from . import codec
from .deadletters import dead_letter
from .inbound import message_of
from .judging import said
from .messages import Summary
from .payloads import Payloads
from .starting import trace_of
from .topics import Topics

log = logging.getLogger("beluga_stream.ingest")


class Ingest:
    """A `Role` over every topic that triggers something, and over `beluga.runs` when a run's end does."""

    def __init__(
        self,
        *,
        topics: Topics,
        deployment: Deployment,
        appender: Appender,
        payloads: Payloads,
        clock: Clock,
    ) -> None:
        self._names = topics
        self._deployment = deployment
        self._appender = appender
        self._payloads = payloads
        self._clock = clock
        self._by_topic: dict[str, list[Trigger]] = defaultdict(list)
        for trigger in deployment.triggers:
            self._by_topic[topics.runs if trigger.kind == "run_finished" else trigger.topic].append(trigger)
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
        """Request a run for each event and trigger that agree."""
        outputs: list[Outgoing] = []
        for record in records:
            for trigger in self._by_topic[record.topic]:
                try:
                    request = await self._request(trigger, record)
                except LogUnavailable:
                    raise  # no fault of the event: it comes again
                except BelugaError as error:
                    log.warning(
                        "refused an event: %s",
                        error,
                        extra={
                            "action": "dead_letter",
                            "trigger": trigger.name,
                            "topic": record.topic,
                            "offset": record.offset,
                        },
                    )
                    outputs.append(await dead_letter(self._names.dead_letters, record, error, self._payloads))
                else:
                    if request is not None:
                        outputs.append(request)
        if outputs:
            await self._appender.append(outputs)
        return None

    async def _request(self, trigger: Trigger, record: Record) -> Outgoing | None:
        trace = trace_of(record.headers)
        if trigger.kind == "run_finished":
            found = await self._finished(trigger, record)
            if found is None:
                return None
            message, identity, from_run = found
            trace = trace or from_run
        else:
            message, identity = message_of(record, trigger.adapter)
        where, key = trigger.where, trigger.idempotency_key
        if where is not None and not _user(trigger, "where", lambda: bool(where(message))):
            return None
        if key is not None:
            identity = _user(trigger, "idempotency_key", lambda: _key_text(key(message)))
        value = message.data if trigger.map is None else _user(trigger, "map", trigger.map, message)
        program = self._deployment.latest(trigger.graph)
        assert program is not None, "a trigger belongs to a deployed graph"
        return await self._start(trigger, program, identity, value, trace)

    async def _start(
        self,
        trigger: Trigger,
        program: Program,
        identity: str,
        value: Any,
        trace: bytes | None,
    ) -> Outgoing:
        checked = _user(trigger, "map", program.input.validate_python, value)
        json = _user(trigger, "map", program.input.dump_python, checked, mode="json")
        run = run_id(trigger.graph, trigger.name, identity)
        request = RunRequested(
            run=run,
            key=str(run),
            at_ms=self._clock.now_ms(),
            graph=trigger.graph,
            definition=program.definition.hash,
            input=await self._payloads.store(str(run), json),
            digest=self._payloads.digest(json),
            trigger=trigger.name,
            trace=None if trace is None else trace.decode("ascii", "replace"),
        )
        headers = () if trace is None else (("traceparent", trace),)
        return Outgoing(self._names.run_requests, str(run).encode(), codec.incoming.encode(request), headers)

    async def _finished(self, trigger: Trigger, record: Record) -> tuple[Message, str, bytes | None] | None:
        """The end of a run as a message, when it is one that the trigger waits for."""
        if record.value is None:
            return None
        summary: Summary = codec.summaries.decode(record.value)
        if summary.graph != trigger.topic or summary.status != trigger.status:
            return None
        adapter: TypeAdapter[Any] = trigger.adapter
        if summary.status == "succeeded":
            output = await self._payloads.load(summary.output or NOTHING)
            data = _user(trigger, "the type", adapter.validate_python, output)
        else:
            data = None
        message = Message(str(summary.run), f"beluga/{summary.graph}", dict(summary.tags), data)
        trace = None if summary.trace is None else summary.trace.encode()
        return message, digest("finished", str(summary.run), str(summary.ended_ms)), trace


def _key_text(key: object) -> str:
    text = str(key)
    text.encode()  # raises for what no id can be made of
    return text


def _user(trigger: Trigger, what: str, function: Any, *arguments: Any, **named: Any) -> Any:
    """Call a user's function; whatever it raises is the event's fault or the function's, and never ours."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        message = f"{what} of trigger {trigger.name} raised {type(error).__name__}: {said(error)}"
        raise ExecutionFailed(message, trigger=trigger.name) from error
