"""The provider `temporal`: durable graphs and workflow classes, run by Temporal's workers elsewhere."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..adapters.memory.clock import SystemClock
from ..adapters.temporal.queues import told_queue
from ..api.features import WORKERS, Options, WorkflowOptions
from ..api.provider import Signals
from ..api.retry import seconds
from ..api.work import Work
from ..application.clients.results import Event
from ..application.clients.runs import Runs
from ..domain.ids import RunId
from ..errors import TimedOut
from ..ports.handlers import Program
from ..ports.spans import NO_SPANS, Spans
from ..ports.workflow_runner import Started, WorkflowRunner
from .client import open_runs
from .connection import topics
from .encryption import cipher_of, payloads_of
from .overtime import Overtime
from .settings import Settings
from .temporal import temporal
from .workflow_work import WorkflowWork

if TYPE_CHECKING:
    from temporalio.client import Client

OpenRuns = Callable[[], AbstractAsyncContextManager[Runs]]


class TemporalProvider:
    """One client, connected at the first run or check.

    Runs are in the trace that `spans` have where they are started. `open_runs` reads streams (default: those on Kafka).
    """

    kinds = ("chain", "graph", "workflow")
    ignores = WORKERS

    def __init__(self, settings: Settings, spans: Spans = NO_SPANS, *, open_runs: OpenRuns | None = None) -> None:
        self._settings = settings
        self._spans = spans
        self._connection = temporal(settings)
        self._open_runs = open_runs or (lambda: _kafka_runs(settings))
        self._client: Client | None = None
        self._runs: Runs | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    def runner(self, work: Work[Any, Any], options: Options, /) -> "TemporalWork":
        """What runs a chain or graph, as deployed to the workers."""
        terms = WorkflowOptions(timeout=options.timeout, retries=0)
        queue = self._settings.temporal_task_queue
        told = self._runner(work, terms, told_queue(queue))
        limit = seconds(options.timeout)
        return TemporalWork(self, work.compile(), self._runner(work, terms, queue), told, limit)

    def workflow(self, made: Work[Any, Any] | type[Any], options: WorkflowOptions, /) -> WorkflowRunner:
        """What runs a durable graph, or a workflow class. Raises `InvalidConfig`."""
        return self._runner(made, options, options.task_queue or self._settings.temporal_task_queue)

    def _runner(self, made: Work[Any, Any] | type[Any], options: WorkflowOptions, queue: str) -> WorkflowRunner:
        from ..adapters.temporal.running import ClassRunner, GraphRunner, Terms  # noqa: PLC0415 - an optional extra

        terms = Terms(
            queue,
            None if options.timeout is None else timedelta(seconds=seconds(options.timeout)),
            options.retries,
            options.description,
            options.metadata,
        )
        if not isinstance(made, Work):
            return ClassRunner(self.client, terms, made)
        return GraphRunner(
            self.client,
            terms,
            made.compile(),
            topics=topics(self._settings),
            payloads=payloads_of(self._settings),
            clock=SystemClock(),
            spans=self._spans,
        )

    async def client(self) -> "Client":
        """The client. Raises `TemporalUnavailable`."""
        async with self._opening:
            if self._client is None:
                self._client = await self._connection.client(cipher_of(self._settings), spans=self._spans)
            return self._client

    async def runs(self) -> Runs:
        """What reads streams. Raises `LogUnavailable`."""
        async with self._opening:
            if self._runs is None:
                self._runs = await self._stack.enter_async_context(self._open_runs())
            return self._runs

    async def check(self) -> None:
        """Raises `TemporalUnavailable` when the server does not answer."""
        from ..adapters.temporal.calls import check_health  # noqa: PLC0415 - an optional extra

        await check_health(await self.client())

    async def aclose(self) -> None:
        self._client = self._runs = None
        await self._stack.aclose()


class TemporalWork(WorkflowWork):
    """Runs one chain or graph: a workflow for each call. Those that are read are `told` in the engine's log."""

    def __init__(
        self, provider: TemporalProvider, program: Program, workflow: WorkflowRunner, told: WorkflowRunner, limit: float
    ) -> None:
        super().__init__(program, workflow)
        self._provider = provider
        self._told = told
        self._limit = limit
        self.ends_in_time = program.definition.undoes
        """See `Runner`. Others are as well ended from outside."""

    async def stream(self, value: Any, /, *, signals: Signals) -> AsyncGenerator[Event, None]:
        runs = await self._provider.runs()
        started = await self._started(value, signals, workflow=self._told)
        try:
            follow = runs.follow(RunId(started.workflow_id))
            async with self._overtime(started) as overtime, aclosing(follow) as events:
                while (event := await overtime.wait(anext(events, None))) is not None:
                    yield event
        except TimedOut:  # it ends by itself, and a cancel would leave undone what is to be undone
            raise
        except BaseException:
            await self._cancel(started)
            raise

    async def _result(self, started: Started) -> Any:
        async with self._overtime(started) as overtime:
            return await overtime.wait(self._workflow.result(started))

    def _overtime(self, started: Started) -> Overtime:
        async def status() -> str:
            return str((await self._workflow.query(started, "state", ()))["status"])

        return Overtime(self._program.definition.name, self._limit, status)


def _kafka_runs(settings: Settings) -> AbstractAsyncContextManager[Runs]:
    return open_runs(settings)
