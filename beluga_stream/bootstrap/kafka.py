"""The provider `kafka`: runs what is deployed on the engine, through a client."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ..api.client import Client, Run
from ..api.features import WORKERS, Options
from ..api.provider import Signals
from ..api.retry import seconds
from ..api.signal import dumped
from ..api.work import Work
from ..application.clients.results import Event
from ..application.clients.signalling import check_awaited
from ..bounds import in_time, within
from ..errors import BelugaError, TimedOut
from ..ports.spans import Spans
from .client import open_runs
from .overtime import Overtime
from .settings import Settings

_CANCEL_SECONDS = 5.0

log = logging.getLogger("beluga_stream.orchestrator")


class KafkaProvider:
    """One client, connected at the first run or check."""

    kinds = ("chain", "graph")
    ignores = WORKERS

    def __init__(self, settings: Settings, spans: Spans | None = None) -> None:
        self._spans = spans
        self._settings = settings
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    def runner(self, work: Work[Any, Any], options: Options, /) -> "KafkaRunner":
        return KafkaRunner(work, self, seconds(options.timeout))

    async def client(self) -> Client:
        """The client. Raises `LogUnavailable` without a broker."""
        async with self._connecting:
            if self._client is None:
                client = Client(lambda: open_runs(self._settings, spans=self._spans))
                await client.__aenter__()
                self._client = client
            return self._client

    async def check(self) -> None:
        """Raises `LogUnavailable` when the broker does not answer."""
        await (await self.client()).list()

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)


class KafkaRunner:
    """Runs one chain or graph, by its name, as it is deployed: it must be in the engine's agents folder too."""

    ends_in_time = True
    """Each start says how long its run may take. See `Runner`."""

    def __init__(self, work: Work[Any, Any], provider: KafkaProvider, limit: float) -> None:
        self._work = work
        self._provider = provider
        self._limit = limit

    async def invoke(self, value: Any, /, *, signals: Signals) -> Any:
        run = await self._started_in_time(value, signals)
        try:
            async with self._overtime(run) as overtime:
                return await overtime.wait(run.result())
        except (asyncio.CancelledError, TimedOut) as error:
            await self._leave(run, error)
            raise

    async def stream(self, value: Any, /, *, signals: Signals) -> AsyncGenerator[Event, None]:
        run = await self._started_in_time(value, signals)
        try:
            async with self._overtime(run) as overtime, aclosing(run.stream()) as events:
                while (event := await overtime.wait(anext(events, None))) is not None:
                    yield event
        except BaseException as error:
            await self._leave(run, error)
            raise

    def _overtime(self, run: Run[Any]) -> Overtime:
        async def status() -> str:
            return (await run.status()).status

        return Overtime(self._work.name, self._limit, status)

    async def _leave(self, run: Run[Any], error: BaseException) -> None:
        """Nobody waits any more: cancel the run, but leave it to end by itself where a cancel would undo nothing."""
        if not (isinstance(error, TimedOut) and self._work.compile().definition.undoes):
            await _cancel(run)

    async def check(self) -> None:
        self._work.compile()
        await self._provider.check()

    async def _started_in_time(self, value: Any, signals: Signals) -> Run[Any]:
        late = f"{self._work.name!r} could not be started within {self._limit:g} s"
        async with in_time(self._limit, lambda: TimedOut(late, graph=self._work.name)):
            return await self._started(value, signals)

    async def _started(self, value: Any, signals: Signals) -> Run[Any]:
        """A run that is on its way. A caller that leaves before it is known leaves none behind."""
        starting = asyncio.ensure_future(self._start(value, signals))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting}, timeout=_CANCEL_SECONDS)
            if not starting.done():
                starting.cancel()
            elif starting.exception() is None:
                await _cancel(starting.result())
            raise

    async def _start(self, value: Any, signals: Signals) -> Run[Any]:
        check_awaited(self._work.compile(), dumped(signals))  # before there is a run that would wait for them
        run = await (await self._provider.client()).start(self._work, value, timeout=self._limit)
        for signal, content in signals.items():
            await run.signal(signal, content)
        return run


async def _cancel(run: Run[Any]) -> None:
    """Nobody waits for it any more. Whoever left is not kept for long, nor told of a broker that is away."""
    try:
        async with within(_CANCEL_SECONDS):
            await run.cancel("whoever started it has left")
    except (TimeoutError, BelugaError) as error:
        log.warning("run %s goes on though nobody waits for it: %s", run.id, error, extra={"run": run.id})
