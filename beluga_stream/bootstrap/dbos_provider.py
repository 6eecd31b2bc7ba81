"""The provider `dbos`: durable graphs in this process, over one SQLite file and without a server."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..adapters.memory.clock import SystemClock
from ..api.features import MOST_WORKERS, WORKERS, Options, WorkflowOptions
from ..api.provider import Signals
from ..api.resource import open_resource
from ..api.retry import seconds
from ..api.work import Work
from ..application.clients.results import Event, RunChanged
from ..application.execution.execution import Executions
from ..application.worker.code import Code
from ..domain.ids import RunId
from ..errors import InvalidConfig
from ..ports.handlers import Program
from ..ports.spans import NO_SPANS, Spans
from ..ports.workflow_runner import WorkflowRunner
from .deployment import Programs
from .encryption import cipher_of
from .settings import Settings
from .workflow_work import WorkflowWork

if TYPE_CHECKING:
    from ..adapters.dbos.engine import DbosEngine

_UNREAD = 1_024


class DbosProvider:
    """One engine, opened at the first run or check. It runs the graphs that it was asked for, and tells their spans."""

    kinds = ("chain", "graph", "workflow")
    ignores = WORKERS

    def __init__(self, settings: Settings, spans: Spans = NO_SPANS) -> None:
        if find_spec("dbos") is None:
            raise InvalidConfig("the provider 'dbos' needs the package dbos: pip install 'beluga-stream[dbos]'")
        self._settings = settings
        self._spans = spans
        self._deployment = Programs()
        self._executions = Executions(threads=MOST_WORKERS, open_resource=open_resource)
        self._engine: DbosEngine | None = None
        self._opening = asyncio.Lock()

    def runner(self, work: Work[Any, Any], options: Options, /) -> "DbosWork":
        """What runs a chain or graph: a workflow for each call. One that undoes what it did ends in time by itself."""
        program = work.compile()
        terms = WorkflowOptions(timeout=options.timeout, retries=0)
        return DbosWork(self, program, self.workflow(work, terms), ends_in_time=program.definition.undoes)

    def workflow(self, made: Work[Any, Any] | type[Any], options: WorkflowOptions, /) -> WorkflowRunner:
        """What runs a durable graph. Raises `InvalidConfig` for a class, and for a task queue."""
        from ..adapters.dbos.running import DbosRunner, Terms  # noqa: PLC0415 - an optional extra

        if not isinstance(made, Work):
            raise InvalidConfig(
                f"provider 'dbos' runs graphs, not classes: make {made.__name__} a Graph(durable=True), or start it "
                f"with DBOS itself"
            )
        if options.task_queue is not None:
            raise InvalidConfig("provider 'dbos' has no task queues: its workflows run in this process")
        terms = Terms(
            None if options.timeout is None else timedelta(seconds=seconds(options.timeout)),
            options.description,
            options.metadata,
        )
        program = made.compile()
        self._deployment.add(program)
        return DbosRunner(self.engine, terms, program, SystemClock(), spans=self._spans)

    async def engine(self) -> "DbosEngine":
        """The engine. Raises `InvalidState` when DBOS or its file is in use, and `LogUnavailable`."""
        from ..adapters.dbos.engine import DbosEngine  # noqa: PLC0415 - an optional extra

        async with self._opening:
            if self._engine is None:
                engine = DbosEngine(
                    self._settings.dbos_database,
                    code=Code(self._deployment),
                    executions=self._executions,
                    clock=SystemClock(),
                    cipher=cipher_of(self._settings),
                    spans=self._spans,
                )
                await engine.open()
                self._engine = engine
            return self._engine

    async def check(self) -> None:
        """Raises `InvalidState` and `LogUnavailable` when it cannot begin."""
        await self.engine()

    async def aclose(self) -> None:
        """Workflows that go on are taken over by the next process with this file."""
        async with self._opening:
            engine, self._engine = self._engine, None
            if engine is not None:
                await engine.close()
        await self._executions.close()


class DbosWork(WorkflowWork):
    """Runs one chain or graph: a workflow for each call. For `ends_in_time` see `Runner`."""

    def __init__(
        self, provider: DbosProvider, program: Program, workflow: WorkflowRunner, *, ends_in_time: bool
    ) -> None:
        super().__init__(program, workflow)
        self._provider = provider
        self.ends_in_time = ends_in_time

    async def stream(self, value: Any, /, *, signals: Signals) -> AsyncGenerator[Event, None]:
        engine, reader = await self._provider.engine(), _Reader()
        run = RunId(secrets.token_hex(16))
        engine.follow(run, reader)
        ended = False
        started = None
        try:
            started = await self._started(value, signals, run)
            while (event := await reader.read()) is not None:
                ended = isinstance(event, RunChanged) and event.ended
                yield event
                if ended:
                    return
            ended = True
            await self._workflow.result(started)
        finally:
            reader.leave()
            engine.leave(run)
            if started is not None and not ended:
                await self._cancel(started)


class _Reader:
    """What happens in a run, for one who reads it. A slow reader keeps the run waiting."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[Event | None] = asyncio.Queue(_UNREAD)
        self._left = False

    async def put(self, event: Event | None) -> None:
        if not self._left:
            await self._unread.put(event)

    async def read(self) -> Event | None:
        """The next event; None when the run is no more."""
        return await self._unread.get()

    def leave(self) -> None:
        """Nobody reads any more: whoever waits to tell goes on."""
        self._left = True
        while not self._unread.empty():
            self._unread.get_nowait()
