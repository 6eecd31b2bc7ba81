"""Leases that fall silent: lost when their worker could have been heard, and only then."""

from collections.abc import Mapping

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application import codec
from beluga_stream.application.coordinator.deadlines import Deadlines
from beluga_stream.application.coordinator.leases import Lease
from beluga_stream.application.coordinator.partition import RunPartition
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import LeaseExpired
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from tests.unit.engines import HandClock

NAMES = Topics(partitions=1)
LEASE_MS = 20_000
TICK_MS = 1_000


class Bench:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = MemoryLog()
        self.log.create(NAMES.specs(["default"]))
        self.takes_ms = 0
        self.partition = RunPartition(0, MemoryPartitionTable(Changelog(), self.log))
        self.lease = Lease(1, Incarnation("i"), self.clock.now)
        self.partition.leases.held[RunId("r"), NodeKey("a")] = self.lease
        self.deadlines = Deadlines(
            (NAMES.node_done,), NAMES.run_events, appender=self.log, reader=self, clock=self.clock, lease_ms=LEASE_MS
        )

    async def end(self, topic: str) -> Mapping[int, int]:
        """As the reader: the ends take as long as the test says."""
        self.clock.now += self.takes_ms
        return await self.log.end(topic)

    async def look(self, seconds: int) -> None:
        """Look at every tick for so long."""
        for _ in range(seconds * 1000 // TICK_MS):
            self.clock.now += TICK_MS
            await self.deadlines.look({0: self.partition}, self.clock.now)

    @property
    def expired(self) -> list[LeaseExpired]:
        return [codec.incoming.decode(record.value) for record in self.log.records(NAMES.run_events, 0)]


async def test_a_worker_that_is_silent_for_too_long_is_lost_once() -> None:
    of = Bench()
    await of.look(19)
    assert of.expired == []
    await of.look(5)
    assert [(event.run, event.node, event.attempt) for event in of.expired] == [("r", "a", 1)]


async def test_nobody_is_lost_while_the_coordinator_stands_still() -> None:
    of = Bench()
    await of.look(5)
    of.clock.now += 60_000
    await of.look(15)
    assert of.expired == []
    await of.look(10)
    assert len(of.expired) == 1


async def test_who_is_silent_is_lost_as_soon_when_the_clock_was_set_back() -> None:
    of = Bench()
    await of.look(5)
    of.clock.now -= 3_600_000
    await of.look(19)
    assert of.expired == []
    await of.look(6)
    assert len(of.expired) == 1


async def test_nobody_is_lost_while_the_broker_is_away() -> None:
    of = Bench()
    await of.look(19)
    of.takes_ms = 60_000
    await of.look(2)
    of.takes_ms = 0
    assert of.clock.now - of.lease.heard_ms < LEASE_MS
    await of.look(15)
    assert of.expired == []
    await of.look(10)
    assert len(of.expired) == 1
