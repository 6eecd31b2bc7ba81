"""Every accepted event becomes exactly one run, though ingest dies and events are delivered again."""

import asyncio

import pytest

from beluga_stream.application.deadletters import event_of
from beluga_stream.domain.ids import run_id
from beluga_stream.ports.handlers import Trigger
from beluga_stream.ports.log import Outgoing
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.invariants import check
from beluga_stream.testing.process import tasks_of_processes
from beluga_stream.testing.virtual_time import run_virtually
from tests.simulation.programs import ANY
from tests.unit.engines import handler, program
from tests.unit.graphs import chain_of

_EVENTS = 20


async def _twice(value: int) -> int:
    await asyncio.sleep(0.1)
    return value * 2


async def _triggered(seed: int) -> None:
    asyncio.get_running_loop().set_task_factory(tasks_of_processes)
    doubling = program(chain_of(1), {"n0": handler(_twice)})
    name = doubling.definition.name
    trigger = Trigger("t", "topic", "numbers", name, ANY, map=lambda message: message.data)
    options = ClusterOptions(user_topics={"numbers": 3}, faults=20, crash=0.01)
    cluster = Cluster(deployed([doubling], [trigger]), seed, options)
    async with cluster.open(), cluster.client() as runs:
        places = []
        for number in range(_EVENTS):
            await asyncio.sleep(cluster.faults.random.expovariate(1.0))
            places += await cluster.log.append([Outgoing("numbers", None, str(number).encode())])
        records = [cluster.log.records("numbers", place.partition, place.offset)[0] for place in places]
        ids = [run_id(name, "t", event_of(record)) for record in records]
        assert await asyncio.gather(*(runs.result(run) for run in ids)) == [2 * n for n in range(_EVENTS)]
        await cluster.rest()
        await check(cluster)
        assert {summary.run for summary in await runs.summaries()} == set(ids)


@pytest.mark.parametrize("seed", range(8))
def test_every_event_is_one_run(seed: int) -> None:
    run_virtually(_triggered(seed), seed)
