"""Durable runs in this process: a host of workflows that never dies, for simulations and tests.

It runs each by the same reducer as every shell, tells how it goes in `beluga.run-results`, and its end to the run that
started it. `FaultyWorkflows` are the calls to it of one simulated process: delayed, lost, or done without an answer.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from ..application import codec
from ..application.clients.results import Chunk, Event
from ..application.coordinator.rendering import Renderer, Step
from ..application.durable.standing import Standing, standing_of
from ..application.local.executing import Executing
from ..application.local.family import AttemptKey, Effect, Family, Shown, Stop, attempt_of
from ..application.local.local_attempts import LocalAttempts
from ..application.local.local_streams import LocalStreams
from ..application.messages import ChunkEmitted, NodeReady
from ..application.payloads import Payloads
from ..application.topics import Topics
from ..bounds import within
from ..domain.events import CancelRequested, Parent, RetryRequested, RunRequested, SignalReceived
from ..domain.events import Event as Happened
from ..domain.ids import GraphHash, Incarnation, NodeKey, RunId
from ..domain.payload import Inline
from ..domain.plan import Plan
from ..domain.state import RunStatus
from ..errors import LogUnavailable, NotFound
from ..ports.clock import Clock
from ..ports.handlers import Program
from ..ports.log import Appender, Outgoing
from ..ports.workflows import Workflows, WorkflowState
from .process import Process

_WAITING = 1_024

_STANDS: Mapping[RunStatus, WorkflowState] = {
    RunStatus.SUCCEEDED: "succeeded",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
"""Starts a task of whoever hosts the runs."""

Call: TypeAlias = RunRequested | SignalReceived | CancelRequested | RetryRequested


class LocalWorkflows:
    """The port `Workflows`, over programs that are given. `executions` runs all handlers, and is closed with it."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        topics: Topics,
        programs: Mapping[GraphHash, Program],
        *,
        appender: Appender,
        payloads: Payloads,
        executions: Executing,
        clock: Clock,
        spawn: Spawn = lambda work, name: asyncio.create_task(work, name=name),
    ) -> None:
        self.spawn = spawn
        self.topics = topics
        self.programs = programs
        self.plans: dict[GraphHash, Plan] = {}
        for found, program in programs.items():
            self.plans[found] = Plan(program.definition, self.plans)
        self.appender = appender
        self.payloads = payloads
        self.executions = executions
        self.clock = clock
        self.runs: dict[RunId, Durable] = {}
        self.incarnations = itertools.count()
        """Names that follow from what happens: a seed must do the same again."""

    async def start(self, request: RunRequested) -> None:
        known = self.runs.get(request.run)
        if known is not None and (request.parent is None or not request.parent.is_after(known.parent)):
            return
        if known is not None and known.stands == "running":
            await known.stop()  # whoever began it has ended
        if request.definition not in self.plans:
            raise NotFound(f"no graph {request.graph!r} is deployed", graph=request.graph)
        run = self.runs[request.run] = Durable(self, request.run, request.parent)
        run.go_on(request)

    async def signal(self, event: SignalReceived) -> None:
        run = self.runs.get(event.run)
        if run is None or run.stands != "running":
            raise NotFound(f"there is no durable run {event.run} that goes on", run=event.run)
        await run.take(event)

    async def cancel(self, event: CancelRequested) -> None:
        run = self.runs.get(event.run)
        if run is not None and run.stands == "running":
            await run.take(event)

    async def retry(self, event: RetryRequested) -> None:
        run = self.runs.get(event.run)
        if run is None or run.stands == "terminated":
            raise NotFound(f"there is no durable run {event.run}", run=event.run)
        await run.take(event)

    async def describe(self, run: RunId) -> WorkflowState:
        found = self.runs.get(run)
        return "unknown" if found is None else found.stands

    def standing(self, run: RunId) -> Standing:
        """How a durable run stands, as its workflow says to whoever asks."""
        return self.runs[run].standing(self.plans)

    async def terminate(self, run: RunId) -> None:
        """End one by hand: nothing of it goes on, and nobody is told."""
        await self.runs[run].stop()

    async def close(self) -> None:
        """End all of them where they are."""
        for run in self.runs.values():
            await run.stop()
        await self.executions.close()


class Durable:
    """One run: what has happened to it, in a queue, and a task that applies it."""

    def __init__(self, host: LocalWorkflows, run: RunId, parent: Parent | None) -> None:
        self.parent = parent
        self._host = host
        self._run = run
        self._family = Family(run, host.plans)
        self._streams = LocalStreams()
        self._happened: asyncio.Queue[Happened | Event | Exception] = asyncio.Queue(_WAITING)
        self._tasks: dict[AttemptKey, asyncio.Task[None]] = {}
        self._renderer = Renderer(host.topics)
        self._attempts = LocalAttempts(
            run,
            host.programs,
            payloads=host.payloads,
            executions=host.executions,
            streams=self._streams,
            tell=self._happened.put,
            now_ms=host.clock.now_ms,
            new_incarnation=lambda: f"d{next(host.incarnations)}",
        )
        self._live: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def stands(self) -> WorkflowState:
        if self._stopped:
            return "terminated"
        root = self._family.root
        return "running" if root is None else _STANDS.get(root.status, "running")

    def standing(self, plans: Mapping[GraphHash, Plan]) -> Standing:
        return standing_of(self._family.root, self._family.states.values(), plans)

    def go_on(self, event: Happened) -> None:
        """Apply an event, and live until the run ends."""
        self._live = self._host.spawn(self._until_it_ends(event), f"durable-{self._run}")

    async def take(self, event: Happened) -> None:
        """Something from outside. What a run that has ended is told is applied at once: it may go on."""
        if self._live is not None and self._live.done():
            self.go_on(event)
        else:
            await self._happened.put(event)

    async def stop(self) -> None:
        self._stopped = self._stopped or self.stands == "running"
        tasks = [task for task in (self._live, *self._tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_it_ends(self, event: Happened) -> None:
        await self._do(self._family.apply(event, self._host.clock.now_ms()))
        while not (self._family.ended and self._happened.empty()):
            await self._next()

    async def _next(self) -> None:
        due = self._family.next_due_ms()
        now = self._host.clock.now_ms()
        timeout = None if due is None or self._family.ended else max(0.0, (due - now) / 1000)
        try:
            async with within(timeout):
                happened = await self._happened.get()
        except TimeoutError:
            await self._do(self._family.fire(self._host.clock.now_ms()))
            return
        if isinstance(happened, Exception):
            raise happened
        if isinstance(happened, Chunk):
            await self._chunk(happened)
        elif not isinstance(happened, Event):
            await self._do(self._family.apply(happened, self._host.clock.now_ms()))

    async def _do(self, effects: Sequence[Effect]) -> None:
        shown: list[Shown] = []
        for effect in effects:
            if isinstance(effect, NodeReady):
                self._dispatch(effect)
            elif isinstance(effect, Stop):
                self._stop(effect)
            elif isinstance(effect, Shown):
                self._streams.heed(effect.state.run, effect.command)
                if effect.state.run == self._run:
                    shown.append(effect)
        await self._tell(shown)

    async def _tell(self, shown: Sequence[Shown]) -> None:
        """Statuses first, and the end to the parent last."""
        if not shown:
            return
        state, host = shown[-1].state, self._host
        plan = None if state.definition is None else host.plans[state.definition]
        steps = [Step(each.state, (each.command,)) for each in shown]
        partition = host.topics.place(state.key)[1]
        records = self._renderer.render(plan, steps, host.clock.now_ms(), partition)
        await host.appender.append(records)

    async def _chunk(self, chunk: Chunk) -> None:
        root, host = self._family.root, self._host
        assert root is not None, "who emits a chunk was dispatched"
        emitted = ChunkEmitted(
            run=self._run,
            node=NodeKey(chunk.node),
            attempt=chunk.attempt,
            incarnation=Incarnation(chunk.incarnation),
            seq=chunk.seq,
            value=Inline(chunk.value),
            at_ms=host.clock.now_ms(),
        )
        key, partition = host.topics.place(root.key)
        record = Outgoing(host.topics.run_results, key, codec.results.encode(emitted), partition=partition)
        await host.appender.append([record])

    def _dispatch(self, work: NodeReady) -> None:
        key = attempt_of(work)
        self._tasks[key] = asyncio.create_task(self._execute(work), name=f"durable-{work.node}")
        self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key, None))

    def _stop(self, stop: Stop) -> None:
        for key in filter(stop.means, tuple(self._tasks)):
            self._tasks[key].cancel()

    async def _execute(self, work: NodeReady) -> None:
        try:
            happened: Happened | Exception = await self._attempts.outcome(work)
        except Exception as error:  # noqa: BLE001 - ours: whoever waits for the run must hear of it
            happened = error
        await self._happened.put(happened)


class FaultyWorkflows:
    """The port `Workflows` of one simulated process."""

    def __init__(self, workflows: Workflows, process: Process) -> None:
        self._workflows = workflows
        self._process = process

    async def start(self, request: RunRequested) -> None:
        await self._called(request)

    async def signal(self, event: SignalReceived) -> None:
        await self._called(event)

    async def cancel(self, event: CancelRequested) -> None:
        await self._called(event)

    async def retry(self, event: RetryRequested) -> None:
        await self._called(event)

    async def describe(self, run: RunId) -> WorkflowState:
        await self._process.effect()
        self._may_fail()
        found = await self._workflows.describe(run)
        await self._process.effect()
        return found

    async def close(self) -> None:
        """The host is another process, and stays."""

    async def _called(self, call: Call) -> None:
        await self._process.effect()
        self._may_fail()
        await self._do(call)
        await self._process.effect()
        self._may_fail()

    async def _do(self, call: Call) -> None:
        match call:
            case RunRequested():
                await self._workflows.start(call)
            case SignalReceived():
                await self._workflows.signal(call)
            case CancelRequested():
                await self._workflows.cancel(call)
            case RetryRequested():
                await self._workflows.retry(call)

    def _may_fail(self) -> None:
        faults = self._process.faults
        if faults.strikes(5 * faults.unavailable):
            raise LogUnavailable("Temporal does not answer (simulated)")
