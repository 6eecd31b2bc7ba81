"""A backfill starts what is missing and nothing twice, beside an ingest that goes on and processes that die."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from random import Random
from typing import Any

import pytest

from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.deadletters import event_of
from beluga_stream.application.ingest.backfill import Backfill, Span
from beluga_stream.domain.ids import run_id
from beluga_stream.errors import InvalidInput, LogUnavailable
from beluga_stream.ports.handlers import Program, Schedule, Trigger
from beluga_stream.ports.log import Outgoing, Record
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.faulty_ports import FaultyReader
from beluga_stream.testing.process import Faults, Process
from beluga_stream.testing.virtual_time import EPOCH_MS
from tests.simulation.programs import ANY
from tests.simulation.uses import used
from tests.unit.engines import handler, program
from tests.unit.graphs import chain_of

_EVENTS = 30
_OPTIONS = ClusterOptions(user_topics={"numbers": 3}, faults=40)


async def _same(value: Any) -> Any:
    return value


def _telling() -> Program:
    return program(chain_of(1), {"n0": handler(_same)})


def _positive(message: Any) -> bool:
    if message.data == 7:
        raise ValueError("not this one")
    return bool(message.data > 4)


def _filling(cluster: Cluster, runs: Runs, trigger: Trigger) -> Backfill:
    return Backfill(
        trigger,
        deployment=cluster.deployment,
        topics=cluster.topics,
        reader=cluster.log,
        payloads=runs.payloads,
        clock=cluster.clock,
    )


@pytest.mark.parametrize("ingesting", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_missing_is_started_once(seed: int, ingesting: bool) -> None:  # noqa: FBT001 - a parameter of the test
    telling = _telling()
    name = telling.definition.name
    trigger = Trigger("numbers", "topic", "numbers", name, ANY, where=_positive)

    async def use(cluster: Cluster, runs: Runs) -> None:
        places = await cluster.log.append(
            [Outgoing("numbers", None, str(number).encode()) for number in range(_EVENTS)]
        )
        told: Counter[str] = Counter()
        span = Span({0: 0, 1: 0, 2: 0}, await cluster.log.end("numbers"))
        half = Span(span.begin, {number: end // 2 for number, end in span.end.items()})
        for part in (half, span, span):
            told += await _filling(cluster, runs, trigger).play(part, runs, parallel=4, timeout_seconds=600)
        ids = {
            run_id(name, "numbers", event_of(cluster.log.records("numbers", place.partition, place.offset)[0]))
            for number, place in enumerate(places)
            if number > 4 and number != 7
        }
        await cluster.rest()
        assert {summary.run for summary in await runs.summaries()} == ids
        assert told["filtered"] >= 10
        assert told["refused"] >= 2
        assert told["failed"] == told["rejected"] == told["still running"] == 0
        # One whose summary is not yet there when it is looked for is asked for again, and is the same run.
        assert told["succeeded"] >= (0 if ingesting else len(ids))

    used(seed, [telling], use, triggers=[trigger] if ingesting else [], options=_OPTIONS, refused=True)


def test_at_most_so_many_runs_are_under_way() -> None:
    most = 0
    under_way = 0

    async def counted(value: int) -> int:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        return value

    telling = program(chain_of(1), {"n0": handler(counted)})
    trigger = Trigger("numbers", "topic", "numbers", telling.definition.name, ANY)

    async def use(cluster: Cluster, runs: Runs) -> None:
        await cluster.log.append([Outgoing("numbers", None, str(number).encode()) for number in range(_EVENTS)])
        span = Span({0: 0, 1: 0, 2: 0}, await cluster.log.end("numbers"))
        told = await _filling(cluster, runs, trigger).play(span, runs, parallel=3, timeout_seconds=600)
        assert told == {"succeeded": _EVENTS}

    used(1, [telling], use, options=ClusterOptions(user_topics={"numbers": 3}, faults=0))
    assert most == 3


def test_the_times_of_a_schedule_are_started_once() -> None:
    telling = _telling()
    name = telling.definition.name
    schedule = Schedule("0 * * * *", "UTC", lambda at: at.isoformat())
    trigger = Trigger("hourly", "schedule", "", name, ANY, schedule=schedule)
    first = EPOCH_MS // 3_600_000 * 3_600_000

    async def use(cluster: Cluster, runs: Runs) -> None:
        filling = _filling(cluster, runs, trigger)
        span = Span({}, {}, first - 4 * 3_600_000, first)
        assert await filling.play(span, runs, parallel=2, timeout_seconds=60) == {"succeeded": 4}
        wider = Span({}, {}, first - 5 * 3_600_000, first)
        assert await filling.play(wider, runs, parallel=2, timeout_seconds=60) == {"ran already": 4, "succeeded": 1}

    used(Random(0).randrange(9), [telling], use, options=ClusterOptions(faults=0))


class _Gone(FaultyReader):
    """A reader whose broker goes away in the midst of what it reads of a topic."""

    async def read(self, topic: str, *span: Any, **until: Any) -> AsyncGenerator[Sequence[Record], None]:
        async for records in super().read(topic, *span, **until):
            yield records
            if topic == "numbers":
                raise LogUnavailable("the broker is away (simulated)")


@pytest.mark.parametrize("seed", range(4))
def test_each_end_of_a_run_is_counted_and_a_lost_broker_told(seed: int) -> None:
    async def ends(value: int) -> int:
        if value % 5 == 1:
            raise ValueError("not this one")
        if value % 5 == 2:
            await asyncio.sleep(300)
        return value

    telling = program(chain_of(1), {"n0": handler(ends)})
    trigger = Trigger("numbers", "topic", "numbers", telling.definition.name, ANY, idempotency_key=_key)

    async def use(cluster: Cluster, runs: Runs) -> None:
        await cluster.log.append([Outgoing("numbers", None, str(number).encode()) for number in (*range(10), 3, 4)])
        span = Span({0: 0, 1: 0, 2: 0}, await cluster.log.end("numbers"))
        lost = _filling(cluster, runs, trigger)
        lost._reader = _Gone(cluster.log, Process("filling", Faults(Random(seed), calm=True)))
        with pytest.raises(LogUnavailable, match="say it again to go on"):
            await lost.play(span, runs, parallel=8, timeout_seconds=60)
        told = await _filling(cluster, runs, trigger).play(span, runs, parallel=8, timeout_seconds=60)
        assert told["repeated"] + told["ran already"] >= 2
        assert told["failed"] <= 2
        assert told["still running"] <= 2
        assert sum(told.values()) == 12
        await asyncio.sleep(600)

    used(seed, [telling], use, options=ClusterOptions(user_topics={"numbers": 3}, faults=0), refused=True)


def _key(message: Any) -> str:
    return str(message.data)


def test_what_has_no_single_events_is_not_backfilled() -> None:
    trigger = Trigger("after", "run_finished", "beluga.runs", "any", ANY)

    async def use(cluster: Cluster, runs: Runs) -> None:
        with pytest.raises(InvalidInput, match="cannot be backfilled"):
            _filling(cluster, runs, trigger)

    used(1, [_telling()], use, options=ClusterOptions(faults=0))
