"""The list of runs while they start, go on, end and are forgotten: page by page, and as the topic says in the end."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.clients.runlist import RunList
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.coordinator.coordinator import CoordinatorOptions
from beluga_stream.application.messages import Summary
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Record, TopicSpec
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.virtual_time import VirtualClock, run_virtually
from tests.simulation.uses import used
from tests.unit.engines import handler, program
from tests.unit.graphs import chain_of

_RUNS = 12
_OPTIONS = ClusterOptions(coordinator=CoordinatorOptions(tick_ms=500, dedup_window_ms=120_000))


async def _same(value: int) -> int:
    return value


_TINY = program(chain_of(1), {"n0": handler(_same)})


async def _start(runs: Runs, number: int) -> RunId:
    definition = _TINY.definition
    return await runs.start(definition.name, number, definition=definition.hash, idempotency_key=f"run-{number}")


async def _all(listed: RunList, limit: int) -> list[Summary]:
    """Page by page."""
    found, after = await listed.page(None, limit, lambda _: True)
    while after is not None:
        page, after = await listed.page(after, limit, lambda _: True)
        found += page
    return found


@pytest.mark.parametrize("seed", range(8))
def test_each_run_is_on_one_page_until_it_is_forgotten(seed: int) -> None:
    rnd = random.Random(seed)

    async def use(cluster: Cluster, runs: Runs) -> None:
        listed = RunList(cluster.log, cluster.topics.runs)
        few = RunList(cluster.log, cluster.topics.runs, most=5)
        begun: list[RunId] = []
        for number in range(_RUNS):
            begun.append(await _start(runs, number))
            await asyncio.sleep(rnd.uniform(0, 3))
            seen = await _all(listed, rnd.randint(1, 4))
            assert [(each.started_ms, each.run) for each in seen] == sorted({(e.started_ms, e.run) for e in seen})
            assert {each.run for each in seen} <= set(begun)
        for run in begun:
            await runs.result(run)
        await cluster.rest()
        whole = await _all(listed, 5)
        assert {each.run for each in whole} == set(begun)
        assert {each.status for each in whole} == {"succeeded"}
        assert await _all(few, 2) == whole[-5:]
        some, more = await listed.page(None, 3, lambda each: each.run in begun[:3])
        assert (sorted(each.run for each in some), more) == (sorted(begun[:3]), None)
        await asyncio.sleep(600)
        later = await _start(runs, _RUNS)  # a coordinator forgets what is over when something happens
        await runs.result(later)
        await cluster.rest()
        assert later in {each.run for each in await _all(listed, 5)}
        await listed.close()
        await few.close()

    used(seed, [_TINY], use, options=_OPTIONS)


class FailingLog(MemoryLog):
    """One that reads as `how` says."""

    how = "away"

    async def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        if self.how == "away":
            raise LogUnavailable("the broker is away (simulated)")
        if self.how == "silent":
            await asyncio.Event().wait()
        async for records in super().read(topic, start, until=until):
            yield records


def test_a_list_that_cannot_be_read_says_so_and_is_read_when_it_can() -> None:
    async def use() -> None:
        log = FailingLog(clock=VirtualClock())
        log.create([TopicSpec("runs", 2)])
        listed = RunList(log, "runs")
        told = Summary(run=RunId("1" * 32), graph="g", status="running", trigger="client", started_ms=1)
        await log.append([Outgoing("runs", told.run.encode(), codec.summaries.encode(told))])
        with pytest.raises(LogUnavailable, match="is away"):
            await _all(listed, 1)
        log.how = "silent"
        with pytest.raises(LogUnavailable, match="runs could not be read to its end"):
            await _all(listed, 1)
        await listed.close()
        log.how = "back"
        assert [each.run for each in await _all(listed, 1)] == [told.run]
        await log.append([Outgoing("runs", told.run.encode(), None)])
        assert await _all(listed, 1) == []
        await listed.close()

    run_virtually(use(), 1)
