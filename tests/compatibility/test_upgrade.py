"""Today's engine finishes what an earlier one has begun, whatever goes wrong meanwhile."""

import asyncio
from typing import Any

import pytest

from beluga_stream.adapters.memory.tables import Changelog
from beluga_stream.application.clients.runs import Runs
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.process import tasks_of_processes
from beluga_stream.testing.virtual_time import run_virtually
from tests.compatibility import triggers
from tests.compatibility.graphs import Gate, cases_of
from tests.compatibility.recording import NAMES, Recording
from tests.compatibility.replay import ended

_DAY = 86_400
_SEEDS = range(6)
_PARTITIONS = 2


def load(cluster: Cluster, recording: Recording) -> None:
    """Put the cluster where the recorded one has stood."""
    for record, _ in recording.records():
        assert record.partition is not None
        cluster.log.put(record, (record.topic, record.partition))
    for partition, key, value, _ in recording.rows():
        cluster.changelogs.setdefault(partition, Changelog()).rows[key] = value
    for partition, key, value, _ in recording.gatherings():
        cluster.gatherings.setdefault(partition, Changelog()).rows[key] = value
    for group, topic, partition, offset in recording.offsets():
        found = cluster.roles[group]._group
        found.commit(found.generation, {(topic, partition): offset})
    cluster.blobs.stored.update(recording.blobs())


async def _upgrade(recording: Recording, seed: int, faults: int) -> None:
    asyncio.get_running_loop().set_task_factory(tasks_of_processes)
    assert not Gate.shut
    cases = cases_of(recording.name)
    topics = triggers.USER_TOPICS if recording.has_triggers else {}
    options = ClusterOptions(partitions=_PARTITIONS, faults=faults, queues=("default", "later"), user_topics=topics)
    programs = [case.graph.compile() for case in cases]
    if recording.has_triggers:
        programs += [graph.compile() for graph in triggers.GRAPHS]
    cluster = Cluster(deployed(programs, triggers.TRIGGERS if recording.has_triggers else ()), seed, options)
    await asyncio.sleep(300)  # the recorded times are in the past
    load(cluster, recording)
    async with cluster.open(), cluster.client() as runs:
        async with asyncio.timeout(_DAY):
            results: list[Any] = await asyncio.gather(*(ended(runs, case) for case in cases))
        assert {case.key: result for case, result in zip(cases, results, strict=True)} == {
            case.key: case.result for case in cases
        }
        if recording.has_triggers:
            await cluster.log.append([triggers.AFTER])
        assert not cluster.defects
        await asyncio.sleep(600)
        if recording.has_triggers:
            assert await _gathered(runs) == triggers.RESULTS
        for member in cluster.roles["coordinator"].members:
            owned = member.role.owned  # type: ignore[attr-defined]
            assert not [run for partition in owned.values() for run in partition.runs], "a run goes on for ever"


async def _gathered(runs: Runs) -> dict[str, list[Any]]:
    """What the graphs that triggers have started gave."""
    found: dict[str, list[Any]] = {name: [] for name in triggers.RESULTS}
    for summary in await runs.summaries():
        if summary.graph in found:
            found[summary.graph].append(triggers.numbers_of(await runs.result(summary.run)))
    return {name: sorted(results) for name, results in found.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", _SEEDS)
def test_the_runs_of_an_earlier_engine_end_as_they_should(name: str, seed: int) -> None:
    run_virtually(_upgrade(Recording(name), seed, faults=2 * seed), seed)
