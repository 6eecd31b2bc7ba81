"""An orchestrator's runs in virtual time: whoever is cancelled, late or refused, the others end as they do alone."""

import asyncio
import random
import re
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from beluga_stream import Orchestrator, Signal
from beluga_stream.api.features import GRAPH
from beluga_stream.api.here import LocalProvider
from beluga_stream.api.managed import ManagedChain
from beluga_stream.api.running import Running
from beluga_stream.api.work import Work
from beluga_stream.application.clients.results import RunChanged
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.execution.middleware import Execution, Middleware, NodeFailed, Proceed
from beluga_stream.application.local.local import LocalEngine
from beluga_stream.application.local.watched import WatchedExecutions
from beluga_stream.domain.definition import EdgeMode
from beluga_stream.errors import BelugaError, InvalidState, ResourceExhausted, RunFailed, TaskCanceled, TimedOut
from beluga_stream.ports.handlers import Program
from beluga_stream.ports.spans import NoSpans
from beluga_stream.testing.process import Faults, Process
from beluga_stream.testing.simulation import Start, here
from beluga_stream.testing.threads import SimulatedExecutions
from beluga_stream.testing.virtual_time import VirtualClock, run_virtually
from tests.simulation.programs import random_program, signals_of
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.steps import random_steps
from tests.simulation.test_simulation import batches

_SEEDS = min(max(SIDE_SEEDS // 2, 1), 200)
_PATIENCE_SECONDS = 3_600.0


async def copies(execution: Execution, proceed: Proceed) -> Any:
    """What it gives is equal to what the handler gave, and not the same."""
    output = await proceed()
    return list(output) if isinstance(output, list) else output


async def mends(execution: Execution, proceed: Proceed) -> Any:
    try:
        return await proceed()
    except NodeFailed as error:
        if error.code == ResourceExhausted.code:
            raise  # by what else is going on, and not by what it does itself: see `_is_exhausted`
        return ["mended"] if execution.attempt == 1 else 7


async def exits_where_it_must_not(execution: Execution, proceed: Proceed) -> Any:
    if execution.node == "s3":
        raise SystemExit(1)
    return await proceed()


async def breaks(execution: Execution, proceed: Proceed) -> Any:
    if execution.node == "s2" and execution.attempt == 1:
        raise ConnectionError("in the middleware")
    return await proceed()


_MIDDLEWARE: Sequence[tuple[Middleware, ...]] = (
    (), (), (), (copies,), (copies, mends), (breaks,), (exits_where_it_must_not, copies),
)  # fmt: skip


def simulated(seed: int) -> Executions:
    """Executions whose threads are slow, or seem to be stuck, as the seed decides."""
    return SimulatedExecutions(Process("here", Faults(random.Random(seed))))


async def told(run: Awaitable[Any]) -> Any:
    """What came of it: an error by all that callers can see of it."""
    try:
        return await run
    except BelugaError as error:
        said = re.sub(r" \([\w/]+\.py, line \d+\)", "", str(error))
        return type(error), said, error.code, getattr(error, "reason", None), error.ids


@pytest.mark.parametrize("seeds", batches(_SEEDS), ids=str)
def test_chains_give_and_raise_what_the_engine_does(seeds: range) -> None:
    for seed in seeds:
        run_virtually(_chains(seed), seed)


async def _chains(seed: int) -> None:
    rnd = random.Random(seed)
    middleware = rnd.choice(_MIDDLEWARE)
    provider = LocalProvider(NoSpans(), middleware, executions=simulated(seed), now_ms=VirtualClock().now_ms)
    async with Orchestrator(providers={"local": lambda: provider}) as orchestrator:
        work = orchestrator.create_chain(*random_steps(rnd), name=f"chain-{seed}", retries=rnd.randint(0, 2))
        values = [rnd.choice(([], [1], ["a", "b"], "no list", None)) for _ in range(rnd.randint(1, 5))]
        played = await asyncio.gather(*(_played(work, value, rnd) for value in values))
        metrics = orchestrator.metrics()
    stopped = played.count(_STOPPED)
    assert metrics.active_chains == 0
    assert metrics.executions == len(values)
    assert metrics.errors == sum(isinstance(each, tuple) for each in played)
    for value, outcome in zip(values, played, strict=True):
        if outcome == _STOPPED or (stopped and _is_exhausted(outcome)):
            continue
        alone = WatchedExecutions(simulated(seed), NoSpans(), "chain.step", middleware=middleware)
        assert outcome == await told(
            LocalEngine(executions=lambda of=alone: of, now_ms=VirtualClock().now_ms).invoke(work.compile(), value)
        )


_STOPPED = ("stopped",)


async def _played(work: ManagedChain[Any, Any], value: Any, rnd: random.Random) -> Any:
    """One run, begun at some time; some are given up."""
    begins, gives_up = rnd.uniform(0, 3), rnd.uniform(0, 6) if rnd.random() < 0.2 else None
    await asyncio.sleep(begins)
    run = asyncio.create_task(told(work.invoke(value)))
    if gives_up is None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await run
    await asyncio.sleep(gives_up)
    if run.done():
        return run.result()
    run.cancel()
    await asyncio.wait([run])
    return _STOPPED if run.cancelled() else run.result()


def _is_exhausted(outcome: Any) -> bool:
    """What runs that were given up can do to others: their calls go on, in the few threads that there are."""
    return isinstance(outcome, tuple) and ResourceExhausted.code in outcome


# --------------------------------------------------------------------------------------------- graphs
class Ready(Work[Any, Any]):
    """A program as what an orchestrator takes."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.definition.name)
        self._program = program

    def compile(self) -> Program:
        return self._program

    def _stamp(self) -> object:
        raise NotImplementedError

    def _compile(self) -> Any:
        raise NotImplementedError


class Floor:
    """Middleware that counts who is at work."""

    def __init__(self, program: Program) -> None:
        self.busy = self.most = 0
        self._readers = {
            name
            for name, handler in program.handlers.items()
            if any(parameter.mode is EdgeMode.STREAM for parameter in handler.parameters)
        }

    async def __call__(self, execution: Execution, proceed: Proceed) -> Any:
        counts = execution.node.partition("[")[0].partition("#")[0] not in self._readers
        self.busy += counts
        self.most = max(self.most, self.busy)
        try:
            return await proceed()
        finally:
            self.busy -= counts


@pytest.mark.parametrize("seeds", batches(_SEEDS), ids=str)
def test_graphs_share_their_workers_and_end_as_they_do_alone(seeds: range) -> None:
    for seed in seeds:
        program = random_program(seed, random.Random(seed).randint(1, 7))
        start = Start(program, [1, 2], "alone", signals=signals_of(program))
        alone = run_virtually(here(start), seed)
        run_virtually(_graphs(seed, start, (alone.status, alone.result)), seed)


async def _graphs(seed: int, start: Start, alone: Any) -> None:
    rnd = random.Random(seed)
    floor = Floor(start.program)
    provider = LocalProvider(NoSpans(), [floor], executions=simulated(seed), now_ms=VirtualClock().now_ms)
    workers = rnd.randint(1, 4)
    options = replace(GRAPH, max_workers=workers, queue_size=rnd.choice((0, 1, 100)), parallel=rnd.random() < 0.8)
    async with Orchestrator(providers={"local": lambda: provider}) as orchestrator:
        running: Running = orchestrator._running
        work = Ready(start.program)
        runner = running.runner(work, options)
        signals = {Signal(name, Any): value for name, value in start.signals.items()}

        async def invoked(limit: float) -> Any:
            value = await running.invoke(work, runner, start.value, limit=limit, signals=signals)
            return "succeeded", start.program.output.dump_python(value, mode="json")

        async def streamed(limit: float) -> Any:
            ended: RunChanged | None = None
            async for event in running.stream(work, runner, start.value, limit=limit, signals=signals):
                ended = event if isinstance(event, RunChanged) and event.ended else ended
            assert ended is not None
            return (ended.status,)

        async def one() -> Any:
            await asyncio.sleep(rnd.uniform(0, 2))
            limit = rnd.choice((_PATIENCE_SECONDS * 24, _PATIENCE_SECONDS * 24, rnd.uniform(0.1, 30)))
            return limit, await told(rnd.choice((invoked, streamed))(limit))

        runs = [asyncio.create_task(one()) for _ in range(rnd.randint(1, 6))]
        if rnd.random() < 0.2:
            await asyncio.sleep(rnd.uniform(0, 20))
            await orchestrator.aclose()
        ended = [await run for run in runs]
        metrics = orchestrator.metrics()
        assert (metrics.active_graphs, floor.busy) == (0, 0)
        assert floor.most <= workers
        assert metrics.errors <= metrics.executions <= len(runs)
        for limit, outcome in ended:
            _judge(outcome, alone, closed=running._closed, late=limit < _PATIENCE_SECONDS)


def _judge(outcome: Any, alone: Any, *, closed: bool, late: bool) -> None:
    """It ended as alone, or as what was done to it says."""
    how = outcome[0]
    excused = {ResourceExhausted} | ({TimedOut, "failed"} if late else set())
    if how in excused | ({TaskCanceled, InvalidState} if closed else set()):
        return
    if isinstance(how, type):
        assert (how, alone[0]) == (RunFailed, "failed")
    else:
        assert outcome == alone[: len(outcome)]
