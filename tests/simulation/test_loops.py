"""Loops over graphs with waits, at several depths, on an engine that fails as a seed decides."""

import asyncio
import random

import pytest

from beluga_stream import Graph, Signal
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import LogUnavailable, NotFound
from beluga_stream.testing.cluster import Cluster
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.uses import used

_SEEDS = range(min(100, max(8, SIDE_SEEDS // 8)))
_DAY_SECONDS = 86_400
_PATIENCE_SECONDS = 4_000
"""Virtual."""

go = Signal("go", int)


async def add(number: int, given: int) -> int:
    return number + given


def _pass(waits: int, rnd: random.Random) -> Graph[int, int]:
    """Adds so many signals to a number."""
    body = Graph[int, int]("pass", durable=rnd.random() < 0.4, timeout=_DAY_SECONDS)
    at = body.input
    for number in range(waits):
        came = body.wait(go, timeout=_DAY_SECONDS / 2, after=at, name=f"wait{number}")
        at = body.add_node(add, at, came, name=f"add{number}")
    body.set_finish_point(at)
    return body


def _flat(waits: int, rnd: random.Random) -> tuple[Graph[int, int], int]:
    """Three passes; the signals for later ones may be there before them."""
    graph = Graph[int, int]("flat", durable=rnd.random() < 0.3, timeout=_DAY_SECONDS)
    until = 3 * waits
    graph.set_finish_point(graph.add_loop(_pass(waits, rnd), graph.input, until=lambda n: n >= until, max_passes=5))
    return graph, until


def _below(waits: int, rnd: random.Random) -> tuple[Graph[int, int], int]:
    """The same in a subgraph, which is handed the signals for all its passes."""
    inner, until = _flat(waits, rnd)
    graph = Graph[int, int]("below", durable=rnd.random() < 0.3, timeout=_DAY_SECONDS)
    graph.set_finish_point(graph.add_node(inner, graph.input))
    return graph, until


def _nested(waits: int, rnd: random.Random) -> tuple[Graph[int, int], int]:
    """Two passes of two passes each."""
    inner = Graph[int, int]("inner", durable=rnd.random() < 0.3, timeout=_DAY_SECONDS)
    each = 2 * waits
    inner.set_finish_point(inner.add_loop(_pass(waits, rnd), inner.input, until=lambda n: n % each == 0, max_passes=2))
    graph = Graph[int, int]("nested", durable=rnd.random() < 0.3, timeout=_DAY_SECONDS)
    graph.set_finish_point(graph.add_loop(inner, graph.input, until=lambda n: n >= 2 * each, max_passes=2))
    return graph, 2 * each


async def _say(runs: Runs, run: RunId, number: int) -> None:
    """Signal it, once somebody has heard of the run and the log is there."""
    while True:
        try:
            await runs.signal(run, go.name, 1, id=f"signal-{number}")
        except (NotFound, LogUnavailable):
            await asyncio.sleep(1)
        else:
            return


@pytest.mark.parametrize("seed", _SEEDS)
def test_each_pass_has_its_signals_whenever_they_come(seed: int) -> None:
    rnd = random.Random(seed)
    graph, signals = rnd.choice([_flat, _below, _nested])(rnd.choice([1, 2]), rnd)

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, 0, idempotency_key="k")
        for number in range(signals):
            if rnd.random() < 0.5:
                await asyncio.sleep(rnd.choice([0.1, 5, 30]))
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await _say(runs, run, number)
        assert await runs.result(run, timeout_seconds=_PATIENCE_SECONDS) == signals

    used(seed, [graph.compile()], use)
