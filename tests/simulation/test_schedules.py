"""A schedule's every time is one run, whoever dies and whoever owns it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import run_id
from beluga_stream.ports.handlers import Schedule, Trigger
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.virtual_time import EPOCH_MS
from tests.simulation.programs import ANY
from tests.simulation.uses import used
from tests.unit.engines import handler, program
from tests.unit.graphs import chain_of

_FIRST_MS = int(datetime(2023, 11, 14, 22, 17, tzinfo=UTC).timestamp() * 1000)
"""Some minutes after the simulation begins, by when somebody has seen the schedule."""

_OPTIONS = ClusterOptions(faults=250)
"""Enough that something goes wrong now and then until the last of its times."""

_LASTS_SECONDS = (_FIRST_MS - EPOCH_MS) / 1000 + 9 * 60


async def _same(value: str) -> str:
    return value


def _told(at: datetime) -> str:
    return at.isoformat()


@pytest.mark.parametrize("jitter_ms", [0, 20_000])
@pytest.mark.parametrize("seed", range(10))
def test_every_minute_is_one_run(seed: int, jitter_ms: int) -> None:
    telling = program(chain_of(1), {"n0": handler(_same)})
    name = telling.definition.name
    schedule = Schedule("17-24 23 14 11 *", "Europe/Berlin", _told, jitter_ms, catch_up="all")
    trigger = Trigger("minutely", "schedule", "", name, ANY, schedule=schedule)

    async def use(cluster: Cluster, runs: Runs) -> None:
        await asyncio.sleep(_LASTS_SECONDS)
        await cluster.rest()
        ids = [run_id(name, "minutely", str(_FIRST_MS + minute * 60_000)) for minute in range(8)]
        found = {summary.run: summary.status for summary in await runs.summaries()}
        assert found == dict.fromkeys(ids, "succeeded")

    used(seed, [telling], use, triggers=[trigger], options=_OPTIONS)


@pytest.mark.parametrize("catch_up", ["skip", "last"])
@pytest.mark.parametrize("seed", range(5))
def test_who_does_not_catch_up_starts_no_time_twice_and_the_last_one_in_the_end(seed: int, catch_up: Any) -> None:
    telling = program(chain_of(1), {"n0": handler(_same)})
    name = telling.definition.name
    schedule = Schedule("17-24 23 14 11 *", "Europe/Berlin", _told, 5_000, catch_up=catch_up)
    trigger = Trigger("minutely", "schedule", "", name, ANY, schedule=schedule)

    async def use(cluster: Cluster, runs: Runs) -> None:
        await asyncio.sleep(_LASTS_SECONDS)
        await cluster.rest()
        ids = [run_id(name, "minutely", str(_FIRST_MS + minute * 60_000)) for minute in range(8)]
        found = {summary.run: summary.status for summary in await runs.summaries()}
        assert found.keys() <= set(ids)
        assert set(found.values()) <= {"succeeded"}
        if catch_up == "last":
            assert ids[-1] in found

    used(seed, [telling], use, triggers=[trigger], options=_OPTIONS)
