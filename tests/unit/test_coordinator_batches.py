"""Batches that are decided while others are written: what is sent when, and what is sent again."""

import asyncio
from collections.abc import Awaitable, Sequence

import pytest

from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable, MemoryTables
from beluga_stream.application import codec
from beluga_stream.domain.events import (
    Event,
    RetryRequested,
)
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.state import NodeStatus, RunState, RunStatus
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing
from tests.unit.coordinating import NAMES, OWNED, Bench, a_while, done, failure, requested


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.coordinator.acquire(OWNED)
    return bench


class HangingTable(MemoryPartitionTable):
    """Writes when it is told to, once for each time."""

    turns: asyncio.Semaphore

    async def write(self, changes: Sequence[tuple[str, bytes | None]]) -> None:
        await self.turns.acquire()
        await super().write(changes)


class HangingTables(MemoryTables):
    """Tables that write when they are told to."""

    def __init__(self, group: MemoryGroup, topics: Sequence[str], log: MemoryLog) -> None:
        super().__init__(group, topics, log)
        self.turns = asyncio.Semaphore(0)

    async def open(self, partition: int) -> MemoryPartitionTable:
        table = HangingTable(self.changelogs.setdefault(partition, Changelog()), self._log)
        table.turns = self.turns
        return table


@pytest.fixture
async def hanging(bench: Bench) -> HangingTables:
    """The bench's tables, which write when they are told to."""
    bench.tables = tables = HangingTables(bench.group, bench.coordinator.topics, bench.log)
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    return tables


MANY = [str(number) for number in range(150)]


"""So many events are not waited for."""


async def begun(bench: Bench, topic: str, events: Sequence[Event]) -> Awaitable[None]:
    """Hand these over at once; what is returned says when they are done with."""
    at = len(bench.written(topic))
    await bench.log.append([Outgoing(topic, event.key.encode(), codec.incoming.encode(event)) for event in events])
    later = await bench.coordinator.handle(bench.log.records(topic, 0, at))
    assert later is not None
    return later


def state_of(bench: Bench, run: str = MANY[0]) -> RunState:
    state = bench.coordinator.owned[0].state(RunId(run))
    assert state is not None
    return state


async def test_what_is_no_news_waits_for_what_made_it_so(bench: Bench, hanging: HangingTables) -> None:
    news = await begun(bench, NAMES.run_requests, [requested(run) for run in MANY])
    repeated = asyncio.create_task(bench.tell(NAMES.run_requests, requested(MANY[0])))
    await a_while()
    assert not repeated.done()
    assert bench.written(NAMES.run_results) == []
    hanging.turns.release()
    await news
    await repeated
    assert len(bench.written(NAMES.run_results)) == len(MANY)


async def test_batches_are_decided_while_others_are_written_and_sent_in_their_order(
    bench: Bench, hanging: HangingTables
) -> None:
    first = await begun(bench, NAMES.run_requests, [requested(run) for run in MANY])
    second = asyncio.create_task(begun(bench, NAMES.node_done, [done(run, "a") for run in MANY]))
    await a_while()
    assert state_of(bench).nodes[NodeKey("a")].status is NodeStatus.SUCCEEDED
    assert bench.written(NAMES.run_results) == []
    assert not second.done(), "a third batch would be decided before the first takes effect"
    hanging.turns.release()
    await first
    assert len(bench.written(NAMES.run_results)) == len(MANY)
    hanging.turns.release()
    await (await second)
    assert [record.key for record in bench.written(NAMES.run_results)] == [run.encode() for run in MANY] * 2


async def test_a_run_that_goes_on_while_its_end_is_written_stays_as_it_is(bench: Bench, hanging: HangingTables) -> None:
    hanging.turns.release()
    await (await begun(bench, NAMES.run_requests, [requested(run) for run in MANY]))
    failed = await begun(bench, NAMES.node_done, [failure(run, "a") for run in MANY])
    retries = [RetryRequested(run=RunId(run), key=run, at_ms=3, id="1") for run in MANY]
    again = asyncio.create_task(begun(bench, NAMES.run_events, retries))
    await a_while()
    assert state_of(bench).status is RunStatus.RUNNING
    hanging.turns.release()
    await failed
    assert state_of(bench).status is RunStatus.RUNNING
    hanging.turns.release()
    await (await again)


async def test_what_is_still_on_its_way_is_sent_again_with_what_was_decided_after_it(bench: Bench) -> None:
    bench.appender.hanging = lost = asyncio.Event()
    on_their_way: list[Awaitable[None] | None] = []
    for topic, event in ((NAMES.run_requests, requested()), (NAMES.node_done, done("r", "a"))):
        await bench.log.append([Outgoing(topic, b"r", codec.incoming.encode(event))])
        on_their_way.append(await bench.coordinator.handle([bench.written(topic)[-1]]))
    assert bench.written(NAMES.run_results) == []
    bench.appender.hanging = None

    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    told = [codec.results.decode(record.value) for record in bench.written(NAMES.run_results)]
    assert [(change.node, change.status) for progress in told for change in progress.nodes] == [
        ("a", "ready"),
        ("a", "succeeded"),
        ("b", "ready"),
    ]
    assert [codec.node_ready.decode(r.value).node for r in bench.written(NAMES.node_ready("default"))] == ["b"]

    bench.appender.breaks = True
    lost.set()
    for later in on_their_way:
        assert later is not None
        with pytest.raises(LogUnavailable):
            await later
