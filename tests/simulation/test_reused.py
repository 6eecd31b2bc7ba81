"""Keys that are used again: with the same input or another, after a cancel, when their run is forgotten or not."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from beluga_stream import Graph, Retry, context, node
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.coordinator.coordinator import CoordinatorOptions
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import RunRejected, TaskCanceled
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.process import tasks_of_processes
from beluga_stream.testing.virtual_time import run_virtually
from tests.simulation.seeds import SIDE_SEEDS

_STARTS = 25
_FORGETS = ((0, 86_400_000), (2, 86_400_000), (25_000, 10_000), (25_000, 86_400_000))
"""How many runs that have ended are remembered, and for how long (ms)."""


@node(retry=Retry(3, first=0.1, most=2))
async def first(number: int) -> list[int]:
    drawn = random.Random(context().incarnation)
    await asyncio.sleep(drawn.choice((0, 0.1, 1, 6)))
    if drawn.random() < 0.2 and context().attempt < 3:
        raise ConnectionError("not yet")
    return [number]


async def chunks(numbers: list[int]) -> AsyncIterator[int]:
    for each in range(3):
        await asyncio.sleep(0.3)
        yield numbers[0] * 10 + each


async def inside(numbers: list[int]) -> int:
    await asyncio.sleep(random.Random(context().incarnation).choice((0, 0.5, 3)))
    return numbers[0] + 7


async def together(numbers: list[int], chunks: list[int], inner: int) -> list[int]:
    return [*numbers, *chunks, inner]


def reused() -> Graph[int, list[int]]:
    """A stream and a child run: what an earlier run of an id has left of them is another's."""
    below = Graph[list[int], int]("below", timeout=600)
    below.set_finish_point(below.add_node(inside, below.input))
    graph = Graph[int, list[int]]("reused", timeout=600)
    begun = graph.add_node(first, graph.input)
    inner = graph.add_node(below, begun, name="below")
    graph.set_finish_point(graph.add_node(together, begun, graph.add_node(chunks, begun), inner))
    return graph


async def _one(cluster: Cluster, chance: random.Random) -> None:
    """Start a run, maybe cancel it, and ask twice and perhaps late what came of it."""
    await asyncio.sleep(chance.uniform(0, 60))
    number, key = chance.randrange(2), f"k{chance.randrange(3)}"
    cancels, late = chance.random() < 0.15, chance.uniform(0, 20) if chance.random() < 0.4 else 0
    async with cluster.client() as runs:
        run = await runs.start("reused", number, idempotency_key=key)
        if cancels:
            await runs.cancel(run)
        await asyncio.sleep(late)
        for _ in range(2):
            await _check(runs, run, number)


async def _check(runs: Runs, run: RunId, number: int) -> None:
    with suppress(RunRejected, TaskCanceled):
        given = await runs.result(run, timeout_seconds=3_000)
        assert given == [number, number * 10, number * 10 + 1, number * 10 + 2, number + 7], "of another input"


@pytest.mark.parametrize("seed", range(min(32, SIDE_SEEDS)))
def test_whoever_starts_a_run_gets_what_their_input_gives_or_hears_that_it_is_refused(seed: int) -> None:
    most, window_ms = _FORGETS[seed % len(_FORGETS)]
    options = ClusterOptions(
        coordinator=CoordinatorOptions(tick_ms=500, dedup_most=most, dedup_window_ms=window_ms),
        partitions=1 + seed % 3,
        skew_seconds=0,
    )

    async def use() -> None:
        asyncio.get_running_loop().set_task_factory(tasks_of_processes)
        chance = random.Random(seed)
        cluster = Cluster(deployed([reused().compile()]), seed, options)
        async with cluster.open():
            await asyncio.gather(*(_one(cluster, chance) for _ in range(_STARTS)))
            await cluster.rest()
        assert cluster.defects == []

    run_virtually(use(), seed)
