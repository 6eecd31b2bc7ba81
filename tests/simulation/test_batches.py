"""Each event is in one batch, and the last of each burst starts a run, whatever dies meanwhile."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from beluga_stream.application.clients.runs import Runs
from beluga_stream.ports.handlers import Gathers, Side, Trigger
from beluga_stream.ports.log import Outgoing
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from tests.simulation.programs import ANY
from tests.simulation.uses import used
from tests.unit.engines import handler, program
from tests.unit.graphs import chain_of

_EVENTS = 40
_OPTIONS = ClusterOptions(user_topics={"many": 3}, faults=60)


async def _same(value: Any) -> Any:
    return value


async def _publish(cluster: Cluster, random: Random) -> None:
    for number in range(_EVENTS):
        await asyncio.sleep(random.expovariate(1.0))
        await cluster.log.append([Outgoing("many", str(number % 3).encode(), str(number).encode())])


def _gathers(kind: Any, **how: Any) -> Gathers:
    return Gathers(kind, (Side("many", ANY, lambda number: str(number % 3)),), **how)


async def _outputs(runs: Runs) -> list[Any]:
    return [await runs.result(summary.run) for summary in await runs.summaries()]


@pytest.mark.parametrize("seed", range(15))
def test_each_event_is_in_one_batch(seed: int) -> None:
    listing = program(chain_of(1), {"n0": handler(_same)})
    trigger = Trigger(
        "many:batch", "gathered", "", listing.definition.name, ANY, gathers=_gathers("batch", size=4, wait_ms=8_000)
    )

    async def use(cluster: Cluster, runs: Runs) -> None:
        await _publish(cluster, Random(seed))
        await cluster.rest()
        batches = await _outputs(runs)
        assert Counter(number for batch in batches for number in batch) == Counter(range(_EVENTS))
        assert all(len({number % 3 for number in batch}) == 1 for batch in batches)
        assert max(map(len, batches)) == 4

    used(seed, [listing], use, triggers=[trigger], options=_OPTIONS)


@pytest.mark.parametrize("seed", range(15))
def test_the_last_event_of_each_burst_starts_a_run(seed: int) -> None:
    telling = program(chain_of(1), {"n0": handler(_same)})
    trigger = Trigger(
        "many:burst", "gathered", "", telling.definition.name, ANY, gathers=_gathers("burst", quiet_ms=5_000)
    )

    async def use(cluster: Cluster, runs: Runs) -> None:
        await _publish(cluster, Random(seed))
        await cluster.rest()
        started = Counter(await _outputs(runs))
        assert max(started.values()) == 1
        assert started.keys() >= {_EVENTS - 3, _EVENTS - 2, _EVENTS - 1}
        assert started.keys() < set(range(_EVENTS))

    used(seed, [telling], use, triggers=[trigger], options=_OPTIONS)
