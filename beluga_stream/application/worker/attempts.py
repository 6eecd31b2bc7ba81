"""One execution of one attempt of a node: from the work a worker took to the event that it reports."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from ...domain.events import NodeFailed, NodeParked, NodeStreaming, NodeSucceeded, Source, StreamVoid
from ...domain.ids import Incarnation
from ...domain.payload import Json, Payload
from ...errors import BelugaError, LogUnavailable, StreamBroken
from ...ports.clock import Clock
from ...ports.handlers import Deployment, Handler
from ...ports.log import Outgoing
from ...ports.spans import Spans
from ...ports.telemetry import Telemetry
from .. import codec, tracing
from ..execution.apart import Address
from ..execution.context import NODE_LOG, Context, RunLogger, resume
from ..execution.execution import Executions
from ..execution.feeding import fed
from ..execution.reports import about, failure_of
from ..execution.spanned import spanned, tell_outcome
from ..execution.streams import HeldElsewhere, Live, Place, Streams
from ..execution.verdict import Completed, Failed
from ..messages import ChunkEmitted, NodeReady, Outcome
from ..outbox import Outbox
from ..payloads import Payloads
from ..topics import Topics
from .code import Code
from .sending import Sending, Sent

log = logging.getLogger("beluga_stream.worker")
parking = logging.getLogger("beluga_stream.worker.parking")
"""Each of the runs that wait for their code is offered again every ten seconds: of thousands it is said seldom."""

MAP_ITEM_LIMIT_BYTES = 2 * 1024
"""A map item's result above this goes to the blob store, so that a page of 64 stays small."""

DETAILS_LIMIT_BYTES = 2 * 1024
"""What a heartbeat tells goes to the blob store above this: it is in the run's state, and in every heartbeat."""

Beat = Callable[[Payload | None], Awaitable[None]]

Report = Callable[[NodeStreaming], Sent]
"""Tells whoever decides that a stream has begun; the future ends when that cannot be lost."""


@dataclass(slots=True)
class _Attempt:
    """What is done, by which execution, and the chunks that are on their way.

    `chunks` counts those of the whole stream. The first `before` of them are not its own, but those of `resumed`, the
    incarnation that it goes on after.
    """

    work: NodeReady
    incarnation: Incarnation
    chunks: int = 0
    before: int = 0
    resumed: Incarnation | None = None
    details: Payload | None = None
    sending: Sending = field(default_factory=Sending)
    lost: LogUnavailable | None = None
    void: bool = False
    """Whether a stream that it read was broken off: whatever its handler makes of that, it does not count."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note when log or stream fail inside a handler: that is no failure of it, whatever it does about it."""
        try:
            yield
        except LogUnavailable as error:
            self.lost = error
            raise
        except StreamBroken:
            self.void = True
            raise


class Attempts:
    """Runs the handlers of a deployment, for the worker of this name. `report` is by `beluga.node-done` by default."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        deployment: Deployment,
        outbox: Outbox,
        payloads: Payloads,
        executions: Executions,
        streams: Streams,
        clock: Clock,
        worker: str,
        telemetry: Telemetry,
        spans: Spans,
        report: Report | None = None,
    ) -> None:
        self._worker = worker
        self._report = report
        self._telemetry = telemetry
        self._spans = spans
        self._streams = streams
        self._names = topics
        self._code = Code(deployment)
        self._outbox = outbox
        self._payloads = payloads
        self._executions = executions
        self._clock = clock

    async def outcome(
        self, work: NodeReady, incarnation: Incarnation, beat: Beat, place: Place, topic: str | None = None
    ) -> Outcome:
        """What came of the work, counted and traced. `topic` is where it came from; None: it never was in the log.

        Work that cannot be done as it says fails its node. Raises `LogUnavailable` and `HeldElsewhere`.
        """
        try:
            return await self._counted(work, incarnation, beat, place, topic)
        except (BelugaError, HeldElsewhere):
            raise
        except Exception as error:
            log.exception(
                "a defect of the engine: %s of run %s could not be run",
                work.node,
                work.run,
                extra={"action": "node_failed", "run": work.run, "node": work.node, "attempt": work.attempt},
            )
            defect = BelugaError(f"the engine could not run it: {error!r}")
            return self._failed(work, incarnation, failure_of(work, defect))

    async def _counted(
        self, work: NodeReady, incarnation: Incarnation, beat: Beat, place: Place, topic: str | None
    ) -> Outcome:
        if work.feed is not None:
            return await fed(
                work,
                work.feed,
                incarnation,
                streams=self._streams,
                payloads=self._payloads,
                place=place,
                clock=self._clock,
            )
        began = self._clock.now_ms()
        program = self._code.of(work)
        kind = "graph" if program is None else program.definition.kind
        with spanned(self._spans, work, incarnation, kind=kind, topic=topic) as span:
            outcome = await tell_outcome(span, self._outcome(work, incarnation, beat, place))
        took = (self._clock.now_ms() - began) / 1000
        success = isinstance(outcome, NodeSucceeded)
        self._telemetry.node_ended(work.graph, work.name, success=success, seconds=took)
        return outcome

    async def _outcome(self, work: NodeReady, incarnation: Incarnation, beat: Beat, place: Place) -> Outcome:
        """Run the work's handler once. All its chunks are durable when this returns. Raises `LogUnavailable`.

        While it waits for the chunks of another node, its `place` may be another's. Raises `HeldElsewhere` when it
        should go on with a stream, and another execution does.
        """
        program = self._code.of(work)
        handler = None if program is None else program.handler(work.name, work.role)
        if program is None or handler is None:
            return self._parked(work)
        attempt = _Attempt(work, incarnation)
        address = Address(program.definition.hash, work.name, work.role)
        result = await self._result(attempt, handler, beat, place, address if work.apart else None)
        await attempt.sending.settle(all_of_it=True)
        if attempt.void:
            return StreamVoid(**about(work, incarnation, self._clock.now_ms()))
        if isinstance(result, Completed):
            try:
                return await self._succeeded(attempt, result)
            except BelugaError as error:
                result = failure_of(work, error)
        log.warning(
            "%s (run %s, attempt %d)",
            result.failure.message,
            work.run,
            work.attempt,
            exc_info=result.error,
            extra={"action": "node_failed", "run": work.run, "node": work.node, "attempt": work.attempt},
        )
        return self._failed(work, incarnation, result, attempt.details)

    async def _result(
        self, attempt: _Attempt, handler: Handler, beat: Beat, place: Place, apart: Address | None
    ) -> Completed | Failed:
        """What the handler gives; a failure, too, when it cannot be given what it is to get."""
        work = attempt.work
        context = self._context(attempt, beat)
        live = self._live(attempt, handler, place)
        try:
            values = {**await self._values(work, handler), **live}
            await self._resume(attempt, context)
            if work.details is not None:
                context.heartbeat_details = await self._payloads.load(work.details)
        except BelugaError as error:
            return failure_of(work, error)

        async def emit(chunk: Json) -> None:
            try:
                await self._emit(attempt, chunk)
            except LogUnavailable as error:
                attempt.lost = error
                raise

        try:
            result = await self._executions.run(
                handler, values, context, timeout_ms=work.timeout_ms, emit=emit, apart=apart
            )
        finally:
            for stream in live.values():
                await stream.close()
        if attempt.lost is not None:
            raise attempt.lost
        return result

    def _parked(self, work: NodeReady) -> NodeParked:
        code = f"{work.graph}/{work.name}@{work.definition}"
        parking.warning(
            "this deployment has no %s: run %s waits for a worker that has it",
            code,
            work.run,
            extra={"action": "park", "run": work.run, "node": work.node, "code": code},
        )
        now = self._clock.now_ms()
        return NodeParked(
            run=work.run, key=work.key, at_ms=now, node=work.node, attempt=work.attempt, worker=self._worker
        )

    def _failed(
        self, work: NodeReady, incarnation: Incarnation, result: Failed, details: Payload | None = None
    ) -> NodeFailed:
        return NodeFailed(
            **about(work, incarnation, self._clock.now_ms()),
            failure=result.failure,
            retryable=result.retryable,
            details=details,
            crashed_on=self._worker if result.crashed else None,
        )

    async def _succeeded(self, attempt: _Attempt, result: Completed) -> NodeSucceeded:
        work = attempt.work
        limit = MAP_ITEM_LIMIT_BYTES if work.node.endswith("]") else None
        output = await self._payloads.store(work.root, result.output, limit_bytes=limit)
        return NodeSucceeded(  # without `about`: every node ends with one, and a mapping would cost more than the event
            run=work.run,
            key=work.key,
            at_ms=self._clock.now_ms(),
            node=work.node,
            attempt=work.attempt,
            incarnation=attempt.incarnation,
            generation=work.generation,
            output=output,
            branches=result.branches,
            chunks=result.chunks,
            done=result.done,
            resumed=attempt.resumed,
        )

    def _live(self, attempt: _Attempt, handler: Handler, place: Place) -> dict[str, Live]:
        """What reads the streams among the work's arguments, by their names."""

        def reading(source: Source) -> Live:
            async def read() -> AsyncGenerator[Sequence[Json]]:
                with attempt.watched():
                    async with aclosing(self._streams.chunks(attempt.work, source, place)) as batches:
                        async for chunks in batches:
                            yield chunks

            return Live(read)

        return {
            one.name or handler.parameters[-1].name: reading(one.stream)
            for one in attempt.work.arguments
            if one.stream is not None and (one.name or handler.parameters)
        }

    async def _resume(self, attempt: _Attempt, context: Context) -> None:
        """Let a node that resumes know what it has emitted."""
        work = attempt.work
        if work.emitted is None:
            return
        emitted, attempt.resumed = await self._streams.emitted(work, work.emitted, attempt.incarnation)
        attempt.chunks = attempt.before = len(emitted)
        resume(context, emitted)

    async def _values(self, work: NodeReady, handler: Handler) -> dict[str, Json]:
        values: dict[str, Json] = {}
        for argument in work.arguments:
            if argument.stream is not None or not (argument.name or handler.parameters):
                continue  # it is read live, or an edge without a name into a handler that takes nothing
            name = argument.name or handler.parameters[-1].name
            values[name] = await self._payloads.load(argument.payload)
        return values

    def _context(self, attempt: _Attempt, beat: Beat) -> Context:
        work = attempt.work
        fields = {"run": work.root, "graph": work.graph, "node": work.node, "attempt": work.attempt}

        async def watched_beat(details: object) -> None:
            with attempt.watched():
                if details is not None:
                    attempt.details = await self._payloads.store(work.root, details, limit_bytes=DETAILS_LIMIT_BYTES)
                await beat(attempt.details)

        return Context(
            run_id=work.root,
            graph=work.graph,
            node=work.node,
            attempt=work.attempt,
            incarnation=attempt.incarnation,
            idempotency_key=f"{work.root}/{work.node}",
            deadline_ms=None if work.timeout_ms is None else self._clock.now_ms() + work.timeout_ms,
            trace=work.trace,
            logger=RunLogger(NODE_LOG, fields),
            _beat=watched_beat,
        )

    async def _emit(self, attempt: _Attempt, chunk: Json) -> None:
        """Send a chunk on its way; the first one is waited for, and reported with its position."""
        work = attempt.work
        emitted = ChunkEmitted(
            run=work.root,
            node=work.node,
            attempt=work.attempt,
            incarnation=attempt.incarnation,
            seq=attempt.chunks,
            value=await self._payloads.store(work.root, chunk),
            at_ms=self._clock.now_ms(),
            resumes=attempt.resumed if attempt.chunks == attempt.before else None,
        )
        attempt.chunks += 1
        key, partition = self._names.place(work.key)
        headers = tracing.headers_of(work.trace)
        record = Outgoing(self._names.run_results, key, codec.results.encode(emitted), headers, partition)
        if attempt.chunks == attempt.before + 1:
            position = (await self._outbox.append([record]))[0]
            streaming = NodeStreaming(
                **about(work, attempt.incarnation, self._clock.now_ms()),
                partition=position.partition,
                offset=position.offset,
                resumed=attempt.resumed,
            )
            if self._report is not None:
                attempt.sending.note(self._report(streaming), 0)
                return
            record = done(self._names, work, streaming)
        attempt.sending.note(self._outbox.add(record), len(record.value or b""))
        if attempt.sending.is_full:
            await attempt.sending.settle()


def done(topics: Topics, work: NodeReady, event: object) -> Outgoing:
    """The record that tells the coordinator something about this work. Of its trace it knows."""
    key, partition = topics.place(work.key)
    return Outgoing(topics.node_done, key, codec.incoming.encode(event), (), partition)
