"""A third party's engine for workflows, and for nothing else: a hall, which stands while its visitors come and go."""

import asyncio
import secrets
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.api.features import Options, WorkflowOptions
from beluga_stream.api.resource import open_resource
from beluga_stream.api.retry import seconds
from beluga_stream.api.work import Work
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import CancelRequested, RunRequested, SignalReceived
from beluga_stream.domain.ids import GraphHash, RunId
from beluga_stream.errors import InvalidConfig, InvalidInput, InvalidState, NotFound, RunFailed, TaskCanceled, TimedOut
from beluga_stream.ports.handlers import Program
from beluga_stream.ports.workflow_runner import Description, Started
from beluga_stream.ports.workflows import WorkflowState
from beluga_stream.testing.workflows import LocalWorkflows

T = TypeVar("T")

TOPICS = Topics(partitions=1)


@dataclass
class Act:
    """One workflow, as the hall knows it."""

    host: LocalWorkflows
    run: RunId
    options: WorkflowOptions
    state: WorkflowState = "running"
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    over: datetime | None = None
    output: Any = None
    failure: Exception | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    watch: asyncio.Task[None] | None = None

    def end(self, state: WorkflowState, failure: Exception | None = None, output: Any = None) -> None:
        self.state, self.failure, self.output, self.over = state, failure, output, datetime.now(UTC)
        self.ended.set()


class Hall:
    """A thread with a loop of its own. Close it, or its workflows go on."""

    def __init__(self) -> None:
        self.acts: dict[str, Act] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hall", daemon=True)
        self._thread.start()
        self._log = MemoryLog()
        self._log.create(TOPICS.specs(["default"]))
        self._payloads = Payloads(MemoryBlobs())
        self._runs = Runs(
            topics=TOPICS,
            appender=self._log,
            reader=self._log,
            payloads=self._payloads,
            clock=SystemClock(),
            partition=lambda run: partition_of(run.encode(), TOPICS.partitions),
        )

    async def asked(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it in the hall."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """Everybody leaves."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def begin(self, program: Program, value: Any, workflow_id: str, options: WorkflowOptions) -> None:
        if workflow_id in self.acts:
            raise InvalidState(f"the workflow id {workflow_id} is taken", workflow=workflow_id)
        run, definition = RunId(workflow_id), program.definition
        host = LocalWorkflows(
            TOPICS,
            _family(program),
            appender=self._log,
            payloads=self._payloads,
            executions=Executions(open_resource=open_resource),
            clock=SystemClock(),
        )
        act = self.acts[workflow_id] = Act(host, run, options)
        request = RunRequested(
            run=run,
            key=workflow_id,
            at_ms=SystemClock().now_ms(),
            graph=definition.name,
            definition=definition.hash,
            input=await self._payloads.store(workflow_id, value),
            digest=self._payloads.digest(value),
        )
        await host.start(request)
        act.watch = asyncio.create_task(self._watched(act))

    def act(self, workflow_id: str, *, running: bool = False) -> Act:
        found = self.acts.get(workflow_id)
        if found is None or (running and found.state != "running"):
            what = "there is no workflow" if found is None else f"it is {found.state}: workflow"
            raise NotFound(f"{what} {workflow_id}", workflow=workflow_id)
        return found

    async def signal(self, workflow_id: str, name: str, value: Any) -> None:
        act = self.act(workflow_id, running=True)
        content = await self._payloads.store(workflow_id, value)
        await act.host.signal(
            SignalReceived(run=act.run, key=workflow_id, at_ms=0, signal=name, id=secrets.token_hex(8), value=content)
        )

    async def cancel(self, workflow_id: str, reason: str) -> None:
        act = self.act(workflow_id, running=True)
        await act.host.cancel(CancelRequested(run=act.run, key=workflow_id, at_ms=0, reason=reason))

    async def terminate(self, workflow_id: str) -> None:
        act = self.act(workflow_id, running=True)
        act.end("terminated", TaskCanceled(f"workflow {workflow_id} was terminated"))
        await act.host.close()

    async def result(self, workflow_id: str) -> Any:
        act = self.act(workflow_id)
        await act.ended.wait()
        if act.failure is not None:
            raise act.failure
        return act.output

    async def _watched(self, act: Act) -> None:
        limit = None if act.options.timeout is None else seconds(act.options.timeout)
        try:
            async with asyncio.timeout(limit):
                act.end("succeeded", output=await self._runs.result(act.run))
        except RunFailed as error:
            act.end("failed", error)
        except TaskCanceled as error:
            act.end("cancelled", error)
        except TimeoutError:
            act.end("timed_out", TimedOut(f"workflow {act.run} took too long"))
            await act.host.close()

    async def _leave(self) -> None:
        for act in self.acts.values():
            await act.host.close()
            if act.watch is not None:
                act.watch.cancel()
                await asyncio.gather(act.watch, return_exceptions=True)
        await self._runs.close()


class HallProvider:
    """One visitor. Its hall is there before and after it; the one of `hall_of_all` for all that are found by name."""

    kinds = ("workflow",)

    def __init__(self, hall: Hall | None = None) -> None:
        self._hall = hall

    def runner(self, work: Work[Any, Any], options: Options, /) -> Any:
        raise InvalidConfig("the hall is for workflows only")

    def workflow(self, made: Work[Any, Any] | type[Any], options: WorkflowOptions, /) -> "HallRunner":
        if not isinstance(made, Work):
            raise InvalidConfig(f"the hall runs graphs, and not {made.__name__}")
        return HallRunner(self.hall, made.compile(), options)

    @property
    def hall(self) -> Hall:
        self._hall = self._hall or hall_of_all()
        return self._hall

    async def check(self) -> None: ...

    async def aclose(self) -> None: ...


class HallRunner:
    """Runs one graph in a hall."""

    def __init__(self, hall: Hall, program: Program, options: WorkflowOptions) -> None:
        self._hall = hall
        self._program = program
        self._options = options

    async def start(self, value: Any, workflow_id: str) -> Started:
        adapter = self._program.input
        try:
            json = adapter.dump_python(adapter.validate_python(value), mode="json")
        except ValidationError as error:
            raise InvalidInput(f"the input does not fit: {error}") from error
        await self._hall.asked(self._hall.begin(self._program, json, workflow_id, self._options))
        return Started(workflow_id)

    async def result(self, started: Started) -> Any:
        found = await self._hall.asked(self._hall.result(started.workflow_id))
        return self._program.output.validate_python(found)

    async def signal(self, started: Started, name: str, value: Any) -> None:
        await self._hall.asked(self._hall.signal(started.workflow_id, name, value))

    async def query(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        act = self._hall.act(started.workflow_id)
        if name != "state":
            raise NotFound(f"there is no query {name!r}")
        return msgspec.to_builtins(act.host.standing(act.run))

    async def update(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        raise InvalidState("nothing is changed in the hall")

    async def cancel(self, started: Started, reason: str) -> None:
        await self._hall.asked(self._hall.cancel(started.workflow_id, reason))

    async def terminate(self, started: Started, reason: str) -> None:
        await self._hall.asked(self._hall.terminate(started.workflow_id))

    async def describe(self, started: Started) -> Description:
        act = self._hall.act(started.workflow_id)
        return Description(started.workflow_id, None, act.state, act.began, act.over, 0, act.options.metadata)

    async def check(self) -> None: ...


_halls: list[Hall] = []


def hall_of_all() -> Hall:
    """The hall of this process."""
    if not _halls:
        _halls.append(Hall())
    return _halls[0]


def close_hall_of_all() -> None:
    """It is made anew for who comes afterwards."""
    while _halls:
        _halls.pop().close()


def _family(program: Program) -> dict[GraphHash, Program]:
    """Children first: the plan of a graph needs theirs."""
    found: dict[GraphHash, Program] = {}
    for child in program.children.values():
        found |= _family(child)
    return {**found, program.definition.hash: program}
