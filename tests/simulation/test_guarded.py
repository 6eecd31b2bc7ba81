"""A dependency that is away for a while: a circuit breaker spares it, and every run succeeds in the end."""

import asyncio
from itertools import pairwise

import pytest

from beluga_stream import CircuitBreaker, Graph, Retry, node
from beluga_stream.application.clients.runs import Runs
from beluga_stream.testing.cluster import Cluster
from beluga_stream.testing.virtual_time import EPOCH_MS
from tests.simulation.uses import used

_AWAY_SECONDS = 60.0
_RESET_SECONDS = 10.0
_RUNS = 8
_TRIED = 3


def _now() -> float:
    return EPOCH_MS / 1000 + asyncio.get_running_loop().time()


def _guarded(calls: list[float]) -> Graph[int, int]:
    """`calls` is when the dependency was called while it was away."""

    @node(retry=Retry(21, first=8, most=20))
    @CircuitBreaker("dependency", failures=_TRIED, reset_after=_RESET_SECONDS, now=_now)
    async def asks(number: int) -> int:
        if asyncio.get_running_loop().time() < _AWAY_SECONDS:
            calls.append(asyncio.get_running_loop().time())
            raise ConnectionError("away")
        return number * 2

    graph = Graph[int, int]("guarded", timeout=3_000)
    graph.set_finish_point(graph.add_node(asks, graph.input))
    return graph


@pytest.mark.parametrize("seed", range(6))
def test_what_is_away_is_spared_and_every_run_succeeds(seed: int) -> None:
    calls: list[float] = []
    graph = _guarded(calls)

    async def use(cluster: Cluster, runs: Runs) -> None:
        begun = [await runs.start(graph.name, number, idempotency_key=str(number)) for number in range(_RUNS)]
        results = await asyncio.gather(*(runs.result(run, timeout_seconds=3_000) for run in begun))
        assert results == [number * 2 for number in range(_RUNS)]

    used(seed, [graph.compile()], use)
    # The first few that were under way together, and then one for each time that the circuit lets one try.
    assert _TRIED <= len(calls) <= _RUNS + _AWAY_SECONDS / _RESET_SECONDS
    trials = calls[_RUNS:]
    assert all(later - sooner >= _RESET_SECONDS for sooner, later in pairwise(trials))
