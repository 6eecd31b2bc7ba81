"""Leases that fall silent: lost when their worker could have been heard, and only then."""

from collections.abc import Mapping
from typing import Any

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application import codec
from beluga_stream.application.codec import Kept
from beluga_stream.application.coordinator import deadlines
from beluga_stream.application.coordinator.deadlines import Deadlines
from beluga_stream.application.coordinator.leases import Lease
from beluga_stream.application.coordinator.partition import RunPartition
from beluga_stream.application.coordinator.states import States
from beluga_stream.application.coordinator.timers import Timers
from beluga_stream.application.messages import Heartbeat
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import LeaseExpired, TimerFired
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus, Timer
from beluga_stream.ports.log import Outgoing
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
    def expired(self) -> list[LeaseExpired | TimerFired]:
        return [codec.incoming.decode(record.value) for record in self.log.records(NAMES.run_events, 0)]


async def test_a_worker_that_is_silent_for_too_long_is_lost_once() -> None:
    of = Bench()
    await of.look(19)
    assert of.expired == []
    await of.look(5)
    assert [(event.run, event.node, event.attempt) for event in of.expired] == [("r", "a", 1)]


async def test_a_worker_that_is_heard_of_is_not_lost_however_long_it_takes() -> None:
    of = Bench()
    beat = Heartbeat(run=RunId("r"), key="r", at_ms=1, node=NodeKey("a"), attempt=1, incarnation=Incarnation("i"))
    for _ in range(5):
        await of.look(15)
        of.partition.leases.beat(beat, of.clock.now)
    assert of.expired == []
    stale = replace(beat, attempt=2)
    await of.look(15)
    of.partition.leases.beat(stale, of.clock.now)
    await of.look(9)
    assert len(of.expired) == 1, "who has another attempt says nothing of this one"


async def test_a_heartbeat_that_waited_unread_takes_the_loss_back() -> None:
    of = Bench()
    await of.log.append([Outgoing(NAMES.node_done, b"r", b"unread", partition=0)])
    await of.look(24)
    assert of.expired == [], "what its worker told may lie in what is unread"
    beat = Heartbeat(run=RunId("r"), key="r", at_ms=1, node=NodeKey("a"), attempt=1, incarnation=Incarnation("i"))
    of.partition.leases.beat(beat, of.clock.now)
    of.partition.offsets.read[NAMES.node_done] = 1
    await of.look(19)
    assert of.expired == []
    await of.look(5)
    assert len(of.expired) == 1


async def test_what_is_lost_says_whether_it_had_begun_there() -> None:
    of = Bench()
    known: dict[str, Any] = {"run": RunId("r"), "key": "r", "at_ms": 1, "node": NodeKey("a"), "attempt": 1}
    told = []
    for begun in (False, True):
        of.partition.leases.beat(Heartbeat(**known, incarnation=Incarnation("i"), begun=begun), of.clock.now)
        await of.look(24)
        event = of.expired[-1]
        assert isinstance(event, LeaseExpired)
        told.append(event.begun)
    assert told == [False, True]


async def test_a_redelivery_that_waits_elsewhere_does_not_clear_who_has_begun() -> None:
    of = Bench()
    waiting = Heartbeat(
        run=RunId("r"), key="r", at_ms=1, node=NodeKey("a"), attempt=1, incarnation=Incarnation("j"), begun=False
    )
    of.partition.leases.beat(waiting, of.clock.now)
    await of.look(24)
    (event,) = of.expired
    assert isinstance(event, LeaseExpired)
    assert event.begun


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


def asleep(run: str) -> RunState:
    return RunState(
        run=RunId(run),
        key=run,
        graph="test",
        status=RunStatus.RUNNING,
        digest="d",
        trigger="api",
        started_ms=0,
        nodes={NodeKey("a"): NodeState(NodeStatus.WAITING, attempt=1, due_ms=1)},
    )


async def test_what_an_outage_has_left_due_is_looked_at_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once would hold the process up for longer than its session, and then whoever is next."""
    monkeypatch.setattr(deadlines, "_AT_ONCE", 2)
    of = Bench()
    of.partition.leases.held.clear()
    await of.partition.table.commit([(f"r{n}", codec.kept.encode(Kept(asleep(f"r{n}")))) for n in range(5)])
    assert [kept async for kept in of.partition.recover(0)] == []
    told = []
    for _ in range(4):
        await of.look(1)
        told.append([event.run for event in of.expired])
    assert [len(runs) for runs in told] == [2, 4, 5, 5]
    assert sorted(told[-1]) == [f"r{n}" for n in range(5)]


async def test_so_are_the_leases_of_workers_that_died_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "_AT_ONCE", 2)
    of = Bench()
    for n in range(5):
        of.partition.leases.held[RunId("r"), NodeKey(f"{n}")] = Lease(1, Incarnation("i"), of.clock.now)
    del of.partition.leases.held[RunId("r"), NodeKey("a")]
    await of.look(20)
    told = []
    for _ in range(4):
        await of.look(1)
        told.append([event.node for event in of.expired])
    assert told == [["0", "1"], ["0", "1", "2", "3"], ["0", "1", "2", "3", "4"], ["0", "1", "2", "3", "4"]]


async def test_no_more_is_looked_at_while_so_much_waits_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "_AT_ONCE", 2)
    of = Bench()
    await of.log.append([Outgoing(NAMES.node_done, b"r", b"unread", partition=0)])
    for n in range(5):
        of.partition.leases.held[RunId("r"), NodeKey(f"{n}")] = Lease(1, Incarnation("i"), of.clock.now)
    await of.look(30)
    assert of.expired == []
    of.partition.offsets.read[NAMES.node_done] = 1
    await of.look(1)
    assert len(of.expired) == 2


async def test_a_log_that_became_shorter_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its topic was created anew, or its broker has lost what it had confirmed: as much may never come again."""
    of = Bench()
    await of.log.append([Outgoing(NAMES.node_done, b"r", b"lost", partition=0) for _ in range(5)])
    of.partition.offsets.read[NAMES.node_done] = 1
    await of.look(30)
    assert of.expired == []

    async def end(topic: str) -> Mapping[int, int]:
        return {0: 2}

    monkeypatch.setattr(of, "end", end)
    await of.look(1)
    assert of.expired == []
    of.partition.offsets.read[NAMES.node_done] = 2
    await of.look(1)
    assert len(of.expired) == 1


def test_deadlines_of_what_is_over_take_no_room_and_a_run_that_rests_keeps_its_own() -> None:
    rests = RunId("rests")
    timers = Timers({rests}, States(MemoryPartitionTable(Changelog(), MemoryLog())))
    timers.put([Timer(1, rests, None, 0)])
    for number in range(10_000):
        timers.put([Timer(2 + number, RunId(str(number)), None, 0)])
    assert len(timers) < 5_000
    assert next(iter(timers)).run == rests
