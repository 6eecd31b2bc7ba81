"""The local shell: runs graphs in this process, without a broker, by the same reducer and the same executions.

Values pass through JSON as they would on Kafka, so that nothing works here and fails there. Nodes that
are ready run beside each other. When the caller goes away, everything that runs is cancelled and
awaited: no task is left.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from ...bounds import within
from ...domain.events import Event as Happened
from ...domain.events import RunRequested, SignalReceived
from ...domain.ids import GraphHash, RunId
from ...domain.payload import NOTHING, Inline, Json
from ...domain.plan import Plan
from ...errors import RunFailed, TaskCanceled
from ...ports.handlers import Program
from ..clients.results import Chunk, Event, RunChanged
from ..clients.signalling import check_awaited
from ..execution import leaving
from ..execution.conversion import declared_result, input_json, sent
from ..execution.execution import Executions
from ..execution.resources import ResourceFactory
from ..messages import NodeReady
from .executing import Executing
from .family import AttemptKey, Effect, Family, Shown, Stop, attempt_of
from .local_attempts import LocalAttempts, payloads_here
from .local_streams import LocalStreams
from .showing import Showing

log = logging.getLogger("beluga_stream.local")

_CHUNKS_WAITING = 1_024


class LocalEngine:
    """Runs programs here."""

    def __init__(
        self,
        *,
        open_resource: ResourceFactory | None = None,
        now_ms: Callable[[], int] | None = None,
        executions: Callable[[], Executing] | None = None,
    ) -> None:
        """`executions` makes what runs the handlers of one run, and is closed with it."""
        self._executions = executions or (lambda: Executions(open_resource=open_resource))
        self._now_ms = now_ms or _now_ms

    async def invoke(
        self,
        program: Program,
        value: Any,
        *,
        signals: Mapping[str, Json] | None = None,
    ) -> Any:
        """The output for one input. Raises `InvalidInput` and `RunFailed`."""
        ended: RunChanged | None = None
        run = self._run(program)
        async for event in self._follow(run, value, signals or {}):
            if isinstance(event, RunChanged) and event.ended:
                ended = event
        assert ended is not None, "every run ends"
        if ended.status == "succeeded":
            output = await payloads_here().load(ended.output or NOTHING)
            return declared_result(program, output)
        failure = ended.failure
        message = failure.message if failure is not None else ended.status
        if ended.status == "cancelled":
            raise TaskCanceled(message)
        raise RunFailed(
            f"graph {program.definition.name!r} failed: {message}",
            reason=failure.code if failure is not None else "execution_failed",
            node=None if failure is None else failure.node,
            attempt=None if failure is None else failure.attempt,
        ) from run.cause_of(message)

    async def stream(
        self,
        program: Program,
        value: Any,
        *,
        signals: Mapping[str, Json] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Everything that happens in the run, chunks as they come, up to its end."""
        async with aclosing(self._follow(self._run(program), value, signals or {})) as events:
            async for event in events:
                yield event

    def _run(self, program: Program) -> "_LocalRun":
        return _LocalRun(program, self._executions(), self._now_ms)

    async def _follow(
        self,
        run: "_LocalRun",
        value: Any,
        signals: Mapping[str, Json],
    ) -> AsyncGenerator[Event, None]:
        try:
            run.begin(value, signals)
            while (event := await run.next_event()) is not None:
                yield event
        finally:
            await run.close()


class _LocalRun:
    """One run with all its children: a queue of events, and a task for each execution."""

    def __init__(self, program: Program, executions: Executing, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._programs: dict[GraphHash, Program] = {}
        plans: dict[GraphHash, Plan] = {}
        self._learn(program, plans)
        self._program = program
        self._executions = executions
        self._root = RunId(secrets.token_hex(16))
        self._family = Family(self._root, plans)
        self._tasks: dict[AttemptKey, asyncio.Task[None]] = {}
        self._stopped: set[AttemptKey] = set()
        self._streams = LocalStreams()
        self._happened: asyncio.Queue[Happened | Chunk | Exception] = asyncio.Queue(_CHUNKS_WAITING)
        self._attempts = LocalAttempts(
            self._root,
            self._programs,
            payloads=payloads_here(),
            executions=executions,
            streams=self._streams,
            tell=self._happened.put,
            now_ms=now_ms,
            is_stopped=lambda work: attempt_of(work) in self._stopped,
        )
        self._unread: int | None = None  # of what has come before the timer that is due
        self._shown: list[Event] = []
        self._showing = Showing(self._root)
        self._closed = False

    def begin(self, value: Any, signals: Mapping[str, Json]) -> None:
        """Check the input and start. Raises `InvalidInput`."""
        check_awaited(self._program, signals)
        json = sent(input_json(self._program, value))
        self._apply(
            RunRequested(
                run=self._root,
                key=str(self._root),
                at_ms=self._now_ms(),
                graph=self._program.definition.name,
                definition=self._program.definition.hash,
                input=Inline(json),
                digest="local",
            )
        )
        for number, (signal, content) in enumerate(signals.items()):
            self._apply(
                SignalReceived(
                    run=self._root,
                    key=str(self._root),
                    at_ms=self._now_ms(),
                    signal=signal,
                    id=str(number),
                    value=Inline(content),
                )
            )

    async def next_event(self) -> Event | None:
        """What happens next; None after the run's end."""
        while not self._shown:
            if self._family.ended:
                return None
            happened = await self._wait()
            if isinstance(happened, Exception):
                raise happened
            if isinstance(happened, Chunk):
                self._shown.extend(self._showing.chunk(happened))
            elif happened is not None:
                self._apply(happened)
        return self._shown.pop(0)

    def cause_of(self, message: str) -> BaseException | None:
        """What was raised where the run failed with this message."""
        return self._attempts.cause_of(message)

    async def close(self) -> None:
        """Cancel what is still running and wait until it ends or is left behind, then release the resources."""
        self._closed = True
        try:
            if self._tasks:
                await self._end_all()
        finally:
            await self._executions.close()

    async def _end_all(self) -> None:
        """Who is cancelled once more meanwhile cancels once more what is still running, and leaves nothing open."""
        ending = tuple(self._tasks.values())
        for key in tuple(self._tasks):
            self._cancel(key)
        try:
            await asyncio.wait(ending, timeout=leaving.LEFT_AFTER_SECONDS)
        except asyncio.CancelledError:
            for task in ending:
                task.cancel()
            await asyncio.wait(ending, timeout=leaving.LEFT_AFTER_SECONDS)
            raise
        finally:
            for run, attempt in self._tasks:
                leaving.tell_left(attempt, run)

    def _learn(self, program: Program, plans: dict[GraphHash, Plan]) -> None:
        found = program.definition.hash
        self._programs[found] = program
        plans[found] = Plan(program.definition, plans)
        for child in program.children.values():
            self._learn(child, plans)

    async def _wait(self) -> Happened | Chunk | Exception | None:
        """The next event, or None when a timer was due instead.

        What has come by then is read first: its reader is late, and not what happened. But nothing that comes later is,
        or a writer that is faster than its reader would keep the time from ever being up.
        """
        due, now = self._family.next_due_ms(), self._now_ms()
        if due is None or due > now:
            self._unread = None
            try:
                async with within(None if due is None else (due - now) / 1000):
                    return await self._happened.get()
            except TimeoutError:
                self._unread = 0
        elif self._unread is None:
            self._unread = self._happened.qsize()
        if self._unread:
            self._unread -= 1
            return self._happened.get_nowait()
        self._unread = None
        self._do(self._family.fire(self._now_ms()))
        return None

    def _apply(self, event: Happened) -> None:
        self._do(self._family.apply(event, self._now_ms()))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, NodeReady):
                self._dispatch(effect)
            elif isinstance(effect, Stop):
                self._stop(effect)
            elif isinstance(effect, Shown):
                self._streams.heed(effect.state.run, effect.command)
                self._shown.extend(self._showing.status(effect))

    def _dispatch(self, work: NodeReady) -> None:
        key = attempt_of(work)
        self._tasks[key] = asyncio.create_task(self._execute(work), name=f"beluga-{work.node}")
        self._tasks[key].add_done_callback(lambda _: self._over(key))

    def _over(self, key: AttemptKey) -> None:
        self._tasks.pop(key, None)
        self._stopped.discard(key)

    def _stop(self, stop: Stop) -> None:
        for key in filter(stop.means, tuple(self._tasks)):
            self._cancel(key)

    def _cancel(self, key: AttemptKey) -> None:
        if key not in self._stopped:  # or it cleans up already, which a second cancellation would cut off
            self._stopped.add(key)
            self._tasks[key].cancel()

    async def _execute(self, work: NodeReady) -> None:
        try:
            happened: Happened | Exception = await self._attempts.outcome(work)
        except Exception as error:  # noqa: BLE001 - ours, as a handler's is a failure: whoever waits must hear of it
            happened = error
        if not self._closed:  # else nobody takes it, and there may be no room for it
            await self._happened.put(happened)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
