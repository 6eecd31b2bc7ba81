"""One execution of a node in the local shell: from the work that was decided to the event that it ends with."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

from ...domain.events import Event as Happened
from ...domain.events import NodeFailed, NodeStreaming, NodeSucceeded, StreamVoid
from ...domain.ids import GraphHash, Incarnation, NodeKey, RunId
from ...domain.payload import Inline, Json, Payload
from ...errors import InvalidState, StreamBroken, TaskCanceled
from ...ports.handlers import Program
from ...ports.spans import NO_SPANS, Spans
from ..clients.results import Chunk
from ..execution.context import Context
from ..execution.conversion import outcome_sent, own, sent
from ..execution.execution import cancelled
from ..execution.reports import about
from ..execution.spanned import spanned, tell_outcome
from ..execution.streams import Live
from ..execution.verdict import Completed
from ..messages import Feed, NodeReady
from ..payloads import Payloads
from ..worker.incarnations import new_incarnation
from .executing import Executing
from .local_streams import LocalStreams

_ERRORS_KEPT = 64
_UNLIMITED = 1 << 62

Tell = Callable[[Happened | Chunk], Awaitable[None]]

Beats = Callable[[NodeReady, Incarnation, Payload], Awaitable[None]]
"""Hears what handlers tell by heartbeats, where an attempt may be lost with its process."""


class _NoBlobs:
    """Local values never leave the process, so none is too long to be inline."""

    async def put(self, owner: str, data: bytes) -> str:
        raise InvalidState("the local engine stores nothing")

    async def get(self, ref: str) -> bytes:
        raise InvalidState("the local engine stores nothing")


def payloads_here() -> Payloads:
    """For values that never leave this process: all are inline."""
    return Payloads(_NoBlobs(), inline_limit_bytes=_UNLIMITED)


class LocalAttempts:
    """Runs the handlers of some programs, for the run `root` and its children. `tell` hears what comes meanwhile.

    `is_stopped` says whether it was the engine that cancelled an execution; without it, nobody else does. `beats` hears
    what the next attempt is to know should this one not end.
    """

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        root: RunId,
        programs: Mapping[GraphHash, Program],
        *,
        payloads: Payloads,
        executions: Executing,
        streams: LocalStreams,
        tell: Tell,
        now_ms: Callable[[], int],
        new_incarnation: Callable[[], str] = new_incarnation,
        spans: Spans = NO_SPANS,
        is_stopped: Callable[[NodeReady], bool] | None = None,
        beats: Beats | None = None,
    ) -> None:
        self._spans = spans
        self._is_stopped = is_stopped
        self._beats = beats
        self._new_incarnation = new_incarnation
        self._root = root
        self._programs = programs
        self._payloads = payloads
        self._executions = executions
        self._streams = streams
        self._tell = tell
        self._now_ms = now_ms
        self._places = itertools.count()
        self._errors: deque[tuple[str, BaseException]] = deque(maxlen=_ERRORS_KEPT)

    async def outcome(self, work: NodeReady) -> Happened:
        """Run the work's handler once."""
        if work.feed is not None:
            return await self._fed(work, work.feed)
        incarnation = Incarnation(self._new_incarnation())
        kind = self._programs[work.definition].definition.kind
        with spanned(self._spans, work, incarnation, kind=kind) as span:
            return await tell_outcome(span, self._outcome(work, incarnation))

    def cause_of(self, message: str) -> BaseException | None:
        """What was raised where a run failed with this message: its own node, or one of a run that it started."""
        return next((error for told, error in reversed(self._errors) if told in message), None)

    async def _outcome(self, work: NodeReady, incarnation: Incarnation) -> NodeSucceeded | NodeFailed:
        handler = self._programs[work.definition].handler(work.name, work.role)
        assert handler is not None, "a program has the code of its nodes"
        told: Payload | None = None

        async def beat(details: object) -> None:
            nonlocal told
            if details is not None:
                told = await self._payloads.store(work.root, details)
                if self._beats is not None:
                    await self._beats(work, incarnation, told)

        emitted, resumed = ([], None) if work.emitted is None else self._streams.emitted(work.run, work.node)
        context = Context(
            run_id=str(work.root),
            graph=work.graph,
            node=work.node,
            attempt=work.attempt,
            incarnation=incarnation,
            idempotency_key=f"{work.root}/{work.node}",
            heartbeat_details=None if work.details is None else await self._payloads.load(work.details),
            _beat=beat,
            _emitted=emitted,
        )
        live = {one.name: self._live(work, one.stream.node) for one in work.arguments if one.stream is not None}
        values = {
            argument.name or handler.parameters[-1].name: live.get(argument.name)
            or own(await self._payloads.load(argument.payload))
            for argument in work.arguments
        }
        emit = partial(self._emit, work, incarnation, resumed, itertools.count(len(emitted)))
        try:
            given = await self._executions.run(handler, values, context, timeout_ms=work.timeout_ms, emit=emit)
        except asyncio.CancelledError as error:
            if self._is_stopped is None or self._is_stopped(work):
                raise
            given = cancelled(handler, error, context)
        finally:
            for stream in live.values():
                await stream.close()
        result = outcome_sent(handler, given, work.node, work.attempt)
        if isinstance(result, Completed):
            return NodeSucceeded(
                **about(work, incarnation, self._now_ms()),
                output=Inline(result.output),
                branches=result.branches,
                chunks=result.chunks,
                done=result.done,
                resumed=resumed,
            )
        if result.error is not None:
            self._errors.append((result.failure.message, result.error))
        return NodeFailed(
            **about(work, incarnation, self._now_ms()),
            failure=result.failure,
            retryable=result.retryable,
            details=told,
        )

    async def _fed(self, work: NodeReady, feed: Feed) -> Happened:
        """The next chunks of the stream that a map goes over."""
        source = work.arguments[0].stream
        assert source is not None, "a map is fed from a stream"
        incarnation = Incarnation(self._new_incarnation())
        try:
            chunks, over = await self._streams.next_chunks(work.root, source.node, start=feed.start, most=feed.most)
        except StreamBroken:
            return StreamVoid(**about(work, incarnation, self._now_ms()))
        return NodeSucceeded(**about(work, incarnation, self._now_ms()), output=Inline(chunks), done=over)

    def _live(self, work: NodeReady, node: NodeKey) -> Live:
        return Live(partial(self._streams.read, work.run, node))

    async def _emit(
        self,
        work: NodeReady,
        incarnation: Incarnation,
        resumed: Incarnation | None,
        numbers: Iterator[int],
        chunk: Json,
    ) -> None:
        if self._is_stopped is not None and self._is_stopped(work):
            raise TaskCanceled(f"{work.node} was stopped: nobody takes its chunks")
        chunk = sent(chunk)
        is_first = self._streams.add(work.run, work.node, incarnation, chunk, resumed=resumed is not None)
        if is_first:
            await self._tell(
                NodeStreaming(
                    **about(work, incarnation, self._now_ms()),
                    partition=0,
                    offset=next(self._places),
                    resumed=resumed,
                )
            )
        if work.root == self._root:
            await self._tell(
                Chunk(
                    cursor="",
                    node=work.node,
                    attempt=work.attempt,
                    incarnation=incarnation,
                    seq=next(numbers),
                    value=chunk,
                )
            )
