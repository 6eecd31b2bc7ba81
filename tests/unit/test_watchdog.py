"""What the watchdog makes of runs that wait: a number, a line in the log, an event when something is to be mended."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from beluga_stream.adapters.memory.groups import MemoryGroup, MemoryWorkers
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import MemoryPartitionTable, MemoryTables
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.codec import Kept
from beluga_stream.application.coordinator.partition import RunPartition
from beluga_stream.application.coordinator.watchdog import Watchdog, WatchdogOptions
from beluga_stream.application.topics import Topics
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import DispatchLost, Event, NodeSucceeded, RunStalled
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Record
from beluga_stream.ports.telemetry import NoTelemetry
from tests.unit.graphs import edges, node, plan

NAMES = Topics(partitions=1)
QUEUE = NAMES.node_ready("default")
TWO = plan([node("a"), node("b")], edges("input > a > b"), ["b"])
LATE, LOST = 70_000, 400_000
DONE = NodeState(NodeStatus.SUCCEEDED, attempt=1, tries=1, output=Inline(1), ended=1)


def run_with(run: str = "r", status: NodeStatus = NodeStatus.READY, **changes: Any) -> RunState:
    return RunState(
        run=RunId(run),
        key=run,
        graph="test",
        definition=TWO.hash,
        status=RunStatus.RUNNING,
        digest="d",
        trigger="api",
        input=Inline(1),
        started_ms=0,
        nodes={NodeKey("a"): NodeState(status, attempt=1, tries=1, since_ms=0, **changes)},
        active=2,
        counter=2,
    )


class Tally(NoTelemetry):
    """What the metric shows."""

    def __init__(self) -> None:
        self.stuck_now: Counter[str] = Counter()

    def stuck(self, reason: str, change: int) -> None:
        self.stuck_now[reason] += change


class Silent:
    """Workers of which nobody can tell."""

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        raise LogUnavailable("the broker does not say")


@dataclass
class Bench:
    """A watchdog over one partition whose table held these runs."""

    states: list[RunState]
    options: WatchdogOptions = field(default_factory=WatchdogOptions)
    log: MemoryLog = field(default_factory=MemoryLog)
    group: MemoryGroup = field(default_factory=lambda: MemoryGroup("workers"))
    tally: Tally = field(default_factory=Tally)
    workers: Any = None

    async def open(self) -> "Bench":
        self.log.create(NAMES.specs(["default"]))
        await self.log.append([Outgoing(QUEUE, b"r", b"work", partition=0) for _ in self.states])
        catalog = Catalog(self.log, NAMES)
        catalog.add(TWO.definition)
        table: MemoryPartitionTable = await MemoryTables(MemoryGroup("coordinators"), [], self.log).open(0)
        await table.commit([(str(state.run), codec.kept.encode(Kept(state))) for state in self.states])
        self.owned = RunPartition(0, table)
        assert [kept async for kept in self.owned.recover(0)] == []
        self.watchdog = Watchdog(
            NAMES,
            appender=self.log,
            reader=self.log,
            workers=self.workers or MemoryWorkers(self.group, 1),
            catalog=catalog,
            telemetry=self.tally,
            options=self.options,
        )
        return self

    async def look(self, now: int) -> list[Event]:
        """One look; returns the events that came of it."""
        before = len(self.events())
        await self.watchdog.look({0: self.owned}, now)
        return self.events()[before:]

    async def rounds(self, *nows: int) -> list[Event]:
        return [event for now in nows for event in await self.look(now)]

    def events(self) -> list[Event]:
        return [codec.incoming.decode(record.value) for record in self.log.records(NAMES.run_events, 0)]

    def acknowledge(self, offset: int) -> None:
        self.group.commit(self.group.generation, {(QUEUE, 0): offset})

    def apply(self, event: Event) -> Decision:
        """What the coordinator does with an event, up to the changelog and back."""
        state = self.owned.state(event.run)
        decision = reduce(TWO, state, event)
        assert decision is not None
        self.owned.apply(Record(NAMES.run_events, 0, 0, b"", b""), TWO, state, decision, event.at_ms)
        return decision

    def settle(self) -> None:
        sealed = self.owned.seal()
        self.owned.durable(sealed)
        self.owned.sent(sealed)


def done(name: str, attempt: int = 1) -> NodeSucceeded:
    known: dict[str, Any] = {"run": RunId("r"), "key": "r", "at_ms": LATE, "node": NodeKey(name), "attempt": attempt}
    return NodeSucceeded(**known, incarnation=Incarnation("i"), output=Inline(1))


def told(caplog: pytest.LogCaptureFixture, action: str = "stuck") -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "action", "") == action]


async def test_a_clock_that_is_set_back_does_not_stop_the_rounds() -> None:
    bench = await Bench([run_with()]).open()
    await bench.rounds(3_600_000 + LATE)
    bench.apply(done("a"))
    bench.settle()
    await bench.rounds(LATE)
    assert bench.tally.stuck_now == {"worker": 0}, "b waits, and not for long"


async def test_a_run_that_waits_too_long_is_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = await Bench([run_with()]).open()
    await bench.rounds(0, LATE, LATE + 10_000, LATE + 20_000)
    assert bench.tally.stuck_now == {"worker": 1}
    (line,) = told(caplog)
    assert line.levelno == logging.WARNING
    assert (line.run, line.node, line.reason) == ("r", "a", "worker")  # type: ignore[attr-defined]

    bench.apply(done("a"))
    await bench.look(LATE + 30_000)
    assert bench.tally.stuck_now == {"worker": 1}  # its next step is not durable yet: nobody knows how it stands
    bench.settle()
    await bench.look(LATE + 40_000)
    assert bench.tally.stuck_now == {"worker": 0}


async def test_a_run_that_has_ended_is_stuck_no_more() -> None:
    bench = await Bench([run_with()]).open()
    await bench.look(LATE)
    bench.apply(done("a"))
    bench.apply(done("b"))
    bench.settle()
    await bench.look(LATE + 10_000)
    assert bench.tally.stuck_now == {"worker": 0}


async def test_who_loses_the_partition_counts_its_runs_no_more() -> None:
    bench = await Bench([run_with("r"), run_with("s", NodeStatus.PARKED)]).open()
    await bench.look(LATE)
    assert bench.tally.stuck_now == {"worker": 1, "code": 1}
    bench.watchdog.forget([0])
    assert bench.tally.stuck_now == {"worker": 0, "code": 0}
    await bench.watchdog.look({}, LATE + 10_000)


async def test_a_look_has_a_bound_and_a_round_its_time() -> None:
    bench = await Bench([run_with(f"r{n}") for n in range(5)], WatchdogOptions(at_once=2)).open()
    seen = []
    for now in (LATE, LATE + 200, LATE + 400, LATE + 600):
        await bench.look(now)
        seen.append(bench.tally.stuck_now["worker"])
    assert seen == [2, 4, 5, 5]


async def test_a_round_begins_without_a_look_at_the_runs_that_were_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await Bench([run_with(f"r{n}") for n in range(5)], WatchdogOptions(at_once=2)).open()
    await bench.rounds(LATE, LATE + 200, LATE + 400)
    assert bench.tally.stuck_now == {"worker": 5}
    looked: list[RunId] = []
    find = bench.owned.find
    monkeypatch.setattr(bench.owned, "find", lambda run: (looked.append(run), find(run))[1])
    await bench.look(LATE + 20_000)
    assert looked == ["r0", "r1"]


async def test_many_stuck_runs_are_a_few_lines_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    bench = await Bench([run_with(f"r{n}") for n in range(30)]).open()
    await bench.rounds(LATE, LATE + 10_000)
    assert len(told(caplog)) == 21
    assert told(caplog)[-1].runs == 10  # type: ignore[attr-defined]


async def test_work_that_is_only_late_is_left_alone() -> None:
    bench = await Bench([run_with("r"), run_with("s")]).open()
    bench.acknowledge(1)  # the worker is at the first of the two
    bench.owned.offsets.read[NAMES.node_done] = 10
    assert await bench.rounds(*range(LOST, LOST + 100_000, 10_000)) == []


async def test_work_that_nobody_can_have_is_dispatched_again(caplog: pytest.LogCaptureFixture) -> None:
    bench = await Bench([run_with(losses=1)]).open()
    await bench.log.append([Outgoing(NAMES.node_done, b"r", b"what a worker tells", partition=0)])
    assert await bench.rounds(LATE, LOST) == []  # the workers have not come to it
    bench.acknowledge(1)
    assert await bench.rounds(LOST + 10_000, LOST + 20_000) == []  # what they tell of it is not read
    bench.owned.offsets.read[NAMES.node_done] = 1
    (event,) = await bench.look(LOST + 30_000)
    assert event == DispatchLost(run=RunId("r"), key="r", at_ms=LOST + 30_000, node=NodeKey("a"), attempt=1)
    assert len(told(caplog, "dispatch_lost")) == 1

    decision = bench.apply(event)
    again = decision.state.nodes[NodeKey("a")]
    assert (again.status, again.attempt, again.tries) == (NodeStatus.READY, 2, 1)
    assert again.losses == 1  # nobody died of it
    assert any(getattr(command, "attempts", ()) == ("a/1",) for command in decision.commands)
    bench.settle()
    assert await bench.rounds(LOST + 40_000, LOST + 50_000) == []  # since when it is ready is anew


@pytest.mark.parametrize("reads_on", [True, False])
async def test_what_retention_has_removed_is_lost_too(reads_on: bool) -> None:  # noqa: FBT001
    bench = await Bench([run_with()]).open()
    await bench.look(LOST)
    bench.log.drop_before(QUEUE, 0, 1)
    if reads_on:
        await bench.log.append([Outgoing(QUEUE, b"s", b"other work", partition=0)])
    found = await bench.rounds(LOST + 10_000, LOST + 20_000)
    assert [type(event) for event in found[:1]] == [DispatchLost]


async def test_what_is_about_to_be_sent_is_not_lost() -> None:
    bench = await Bench([run_with()]).open()
    bench.acknowledge(1)
    bench.apply(done("a"))
    bench.owned.seal()
    assert await bench.rounds(*range(2 * LOST, 2 * LOST + 50_000, 10_000)) == []


async def test_when_nobody_can_tell_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    bench = await Bench([run_with()], workers=Silent()).open()
    assert await bench.rounds(LOST, LOST + 10_000) == []
    assert len(told(caplog, "watchdog")) == 2


async def test_a_run_that_waits_for_nothing_is_an_error_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stalled = run_with()
    bench = await Bench([RunState(**{**vars_of(stalled), "nodes": {NodeKey("a"): DONE}})]).open()
    (event,) = await bench.look(0)
    assert event == RunStalled(run=RunId("r"), key="r", at_ms=0)
    (line,) = told(caplog)
    assert line.levelno == logging.ERROR
    assert bench.tally.stuck_now == {"nothing": 1}

    assert bench.apply(event).state.nodes[NodeKey("b")].status is NodeStatus.READY
    bench.settle()
    assert await bench.look(10_000) == []
    assert bench.tally.stuck_now == {"nothing": 0}


async def test_a_run_without_a_definition_waits_for_its_code() -> None:
    bench = await Bench([RunState(**{**vars_of(run_with()), "definition": "unknown"})]).open()
    await bench.look(0)
    assert bench.tally.stuck_now == {"code": 1}


def vars_of(state: RunState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__struct_fields__}
