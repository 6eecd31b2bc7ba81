"""Values that are gone: whoever deletes blobs that runs still need, each run ends, and those that need one say so."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Limit, Retry, node
from beluga_stream.application.clients.desk import Desk
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import BelugaError, NotFound, RunFailed, RunRejected
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from tests.simulation.gateways import desk_of
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.uses import used

_SEEDS = range(min(25, max(4, SIDE_SEEDS // 20)))
_OPTIONS = ClusterOptions(inline_limit_bytes=8)
_PATIENCE_SECONDS = 4 * 3600.0
_REASONS = {"not_found"}


class Wish(BaseModel):
    who: int
    numbers: list[int]


@node(retry=Retry(2, first=0.1))
async def lists(wish: Wish) -> list[list[int]]:
    await asyncio.sleep(2)
    return [[wish.who, number] for number in wish.numbers]


async def totals(numbers: list[int]) -> int:
    await asyncio.sleep(1)
    return sum(numbers)


async def spells(wish: Wish) -> AsyncIterator[str]:
    for number in wish.numbers:
        yield str(number) * 10


async def joins(sums: list[int], spelt: list[str]) -> int:
    return sum(sums) + len(spelt)


def _inner() -> Graph[list[int], int]:
    graph = Graph[list[int], int]("inner")
    graph.set_finish_point(graph.add_node(totals, graph.input))
    return graph


def _outer() -> Graph[Wish, int]:
    graph = Graph[Wish, int]("outer", timeout=3_600, limit=Limit(2, key="who"))
    listed = graph.add_node(lists, graph.input)
    sums = graph.add_map(_inner(), listed)
    graph.set_finish_point(graph.add_node(joins, sums, graph.add_node(spells, graph.input)))
    return graph


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_run_whose_values_are_gone_ends_and_says_so(seed: int) -> None:
    graph = _outer()

    async def use(cluster: Cluster, runs: Runs) -> None:
        asked = [asyncio.create_task(_started(cluster, runs, graph.name, number)) for number in range(4)]
        for _ in range(6):
            await asyncio.sleep(cluster.faults.random.uniform(0, 4))
            for ref in list(cluster.blobs.stored):
                if cluster.faults.random.random() < 0.3:
                    del cluster.blobs.stored[ref]
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for run in [await each for each in asked]:
                await _judge(runs, run)
        async with desk_of(cluster) as (desk, _):
            for summary in await runs.summaries():
                assert await _heard(desk, summary.run) == await _heard(runs, summary.run)

    used(seed, [graph.compile()], use, options=_OPTIONS, refused=True)


async def _started(cluster: Cluster, runs: Runs, graph: str, number: int) -> RunId:
    await asyncio.sleep(cluster.faults.random.uniform(0, 10))
    wish = Wish(who=number % 2, numbers=[number, 20, 300, 4_000])
    return await runs.start(graph, wish.model_dump(), idempotency_key=str(number))


async def _heard(desk: Desk, run: RunId) -> list[str | None]:
    """The cursors of what is told of a run; None stands for the end of a stream of which a chunk is gone."""
    cursors: list[str | None] = []
    try:
        async for event in desk.follow(run):
            cursors.append(event.cursor)  # noqa: PERF401 - what came is kept when the rest does not
    except NotFound:
        cursors.append(None)
    return cursors


async def _judge(runs: Runs, run: RunId) -> None:
    """It succeeded, or says which value is gone; its result may be gone when somebody asks for it."""
    error: BelugaError | None = None
    try:
        await runs.result(run)
    except BelugaError as raised:
        error = raised
    if isinstance(error, RunFailed):
        assert error.reason in _REASONS, error
    elif error is not None:
        assert isinstance(error, RunRejected | NotFound), error
