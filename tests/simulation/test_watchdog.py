"""Work that the log has lost is dispatched again, and only that: all other simulations end without a repair."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from beluga_stream.application import codec
from beluga_stream.application.coordinator.watchdog import Watchdog, WatchdogOptions
from beluga_stream.domain.events import DispatchLost
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.invariants import check
from beluga_stream.testing.process import tasks_of_processes
from beluga_stream.testing.virtual_time import run_virtually
from tests.simulation.durable import around
from tests.unit.engines import handler, program
from tests.unit.graphs import chain_of

_RUNS = 12
_SEEDS = 25


async def _double(value: int) -> int:
    await asyncio.sleep(random.Random(value).uniform(0, 4))
    return value * 2


async def _take_time(value: Any) -> Any:
    await asyncio.sleep(random.Random(str(value)).uniform(0, 4))
    return value


async def _lose(cluster: Cluster) -> None:
    """Let retention remove work that nobody has read yet, now and then."""
    queue = cluster.topics.node_ready("default")
    for _ in range(8):
        await asyncio.sleep(cluster.faults.random.uniform(0, 4))
        partition = cluster.faults.random.randrange(cluster.topics.partitions)
        cluster.log.drop_before(queue, partition, (await cluster.log.end(queue))[partition])


def _repairs(cluster: Cluster) -> list[DispatchLost]:
    decoded = [
        codec.incoming.decode(record.value)
        for partition in range(cluster.topics.partitions)
        for record in cluster.log.records(cluster.topics.run_events, partition, most=1 << 30)
    ]
    return [event for event in decoded if isinstance(event, DispatchLost)]


async def _play(seed: int) -> int:
    asyncio.get_running_loop().set_task_factory(tasks_of_processes)
    line = chain_of(4)
    doubling = program(line, {name: handler(_double) for name in line.nodes})
    cluster = Cluster(deployed([doubling]), seed, ClusterOptions())
    async with cluster.open(), cluster.client() as runs:
        losing = asyncio.create_task(_lose(cluster))
        started = [
            await runs.start(line.definition.name, number, definition=line.hash, idempotency_key=str(number))
            for number in range(_RUNS)
        ]
        async with asyncio.timeout(3600):
            results = await asyncio.gather(*(runs.result(run) for run in started))
            await losing
        assert results == [number * 16 for number in range(_RUNS)]
        await cluster.rest()
        await check(cluster, lossy=True)
        for member in cluster.roles["coordinator"].members:
            for watch in member.role._watches:  # type: ignore[attr-defined]
                assert not isinstance(watch, Watchdog) or not any(watch._stuck.values()), "a run is stuck for ever"
    return len(_repairs(cluster))


_ASKING = WatchdogOptions(
    patience_ms=2_000, redispatch_ms=3_000, look_after_ms=2_000, child_ms=3_000, round_ms=1_000, at_once=5
)


async def _lose_tidings(cluster: Cluster, lost: Counter[str]) -> None:
    """Let retention remove starts and ends of children that nobody has read yet, and nothing else."""
    topic, group = cluster.topics.run_events, cluster._groups["coordinator"]
    for _ in range(400):
        await asyncio.sleep(cluster.faults.random.uniform(0, 0.2))
        for partition in range(cluster.topics.partitions):
            read = group.committed(topic, partition) or 0
            unread = [codec.incoming.decode(r.value).type for r in cluster.log.records(topic, partition, start=read)]
            if unread and set(unread) <= {"run_requested", "child_finished"} and cluster.faults.random.random() < 0.3:
                cluster.log.drop_before(topic, partition, (await cluster.log.end(topic))[partition])
                lost.update(unread)


async def _play_children(seed: int) -> Counter[str]:
    asyncio.get_running_loop().set_task_factory(tasks_of_processes)
    line = chain_of(2)
    parent = around(program(line, {name: handler(_take_time) for name in line.nodes}), "parent")
    lost: Counter[str] = Counter()
    cluster = Cluster(deployed([parent]), seed, ClusterOptions(faults=3, watchdog=_ASKING))
    async with cluster.open(), cluster.client() as runs:
        losing = asyncio.create_task(_lose_tidings(cluster, lost))
        started = [
            await runs.start("parent", number, definition=parent.definition.hash, idempotency_key=str(number))
            for number in range(_RUNS)
        ]
        async with asyncio.timeout(3600):
            await asyncio.gather(*(runs.result(run) for run in started))
            await losing
        await cluster.rest()
        await check(cluster, lossy=True)
    return lost


@pytest.mark.parametrize("seed", range(_SEEDS))
def test_a_child_whose_start_or_end_was_lost_is_asked_after(seed: int) -> None:
    run_virtually(_play_children(seed), seed)


def test_starts_and_ends_of_children_were_lost() -> None:
    lost = sum((run_virtually(_play_children(seed), seed) for seed in range(6)), Counter())
    assert min(lost["run_requested"], lost["child_finished"]) > 3, lost


@pytest.mark.parametrize("seed", range(_SEEDS))
def test_lost_work_is_dispatched_again(seed: int) -> None:
    run_virtually(_play(seed), seed)


def test_there_was_something_to_repair() -> None:
    assert sum(run_virtually(_play(seed), seed) for seed in range(12)) > 3
