"""The coordinator on a log in memory: what is durable before what, what it refuses, and when it holds back."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable, MemoryTables
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.coordinator import Coordinator, CoordinatorOptions
from beluga_stream.application.fusion import segment
from beluga_stream.application.messages import Segment
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import (
    Event,
    Failure,
    NodeFailed,
    NodeSucceeded,
    RetryRequested,
    RunRequested,
    SignalReceived,
    TimerFired,
)
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.state import NodeStatus, RunState, RunStatus
from beluga_stream.errors import LogUnavailable, TopicMismatch
from beluga_stream.ports.log import Outgoing, Position, Record
from beluga_stream.ports.spans import NO_SPANS, Spans
from beluga_stream.ports.telemetry import NO_TELEMETRY, Telemetry
from tests.unit.graphs import edges, node, plan

NAMES = Topics(partitions=1)
OWNED = frozenset({0})


class StillClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        await asyncio.sleep(0)


class BreakingAppender:
    """The log, until told to break or to take for ever."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.breaks = False
        self.hanging: asyncio.Event | None = None

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        if self.hanging is not None:
            await self.hanging.wait()
        if self.breaks:
            raise LogUnavailable("the broker is gone")
        return await self._log.append(records)


class Bench:
    """One coordinator over one partition, and everything it writes."""

    telemetry: Telemetry = NO_TELEMETRY
    spans: Spans = NO_SPANS

    def __init__(self, **options: int) -> None:
        self.log = MemoryLog()
        self.log.create(NAMES.specs(["default"]))
        self.group = MemoryGroup("coordinators")
        self.tables = MemoryTables(self.group, (NAMES.run_requests, NAMES.run_events, NAMES.node_done), self.log)
        self.appender = BreakingAppender(self.log)
        self.options = CoordinatorOptions(**options)
        self.plan = plan([node("a"), node("b")], edges("input > a > b"), ["b"])
        self.clock = StillClock()
        self.coordinator = self.another()

    def another(self) -> Coordinator:
        """A coordinator that knows nothing but what is durable."""
        catalog = Catalog(self.log, NAMES)
        catalog.add(self.plan.definition)
        return Coordinator(
            topics=NAMES,
            tables=self.tables,
            appender=self.appender,
            reader=self.log,
            catalog=catalog,
            payloads=Payloads(MemoryBlobs()),
            clock=self.clock,
            telemetry=self.telemetry,
            spans=self.spans,
            options=self.options,
        )

    async def tell(self, topic: str, event: Event | Segment, *, key: str | None = None) -> Record:
        value = codec.incoming.encode(event)
        await self.log.append([Outgoing(topic, (key or str(event.run)).encode(), value)])
        record = self.written(topic)[-1]
        await self.handle(record)
        return record

    async def handle(self, record: Record) -> None:
        """Hand it over as a driver does: it is done when what `handle` returns says so."""
        later = await self.coordinator.handle([record])
        if later is not None:
            await later

    def written(self, topic: str) -> Sequence[Record]:
        return self.log.records(topic, 0)


def requested(run: str = "r", value: object = 1, digest: str = "d", graph: str = "test") -> RunRequested:
    return RunRequested(
        run=RunId(run), key=run, at_ms=1, graph=graph, input=Inline(value), digest=digest, definition=None
    )


def execution(run: str, name: str) -> dict[str, Any]:
    return {
        "run": RunId(run),
        "key": run,
        "at_ms": 2,
        "node": NodeKey(name),
        "attempt": 1,
        "incarnation": Incarnation("i"),
    }


def done(run: str, name: str, value: object = 1) -> NodeSucceeded:
    return NodeSucceeded(**execution(run, name), output=Inline(value))


def failure(run: str, name: str) -> NodeFailed:
    why = Failure("execution_failed", "it is broken")
    return NodeFailed(**execution(run, name), failure=why, retryable=False)


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.coordinator.acquire(OWNED)
    return bench


async def test_nothing_is_sent_of_what_is_not_durable_and_nothing_durable_stays_unsent(bench: Bench) -> None:
    bench.appender.breaks = True
    with pytest.raises(LogUnavailable):
        await bench.tell(NAMES.run_requests, requested())
    assert bench.written(NAMES.node_ready("default")) == []
    bench.appender.breaks = False

    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    (ready,) = bench.written(NAMES.node_ready("default"))
    assert codec.node_ready.decode(ready.value).node == "a"

    await bench.handle(bench.written(NAMES.run_requests)[0])
    assert len(bench.written(NAMES.node_ready("default"))) == 1, "a duplicate is answered with nothing"


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


async def a_while() -> None:
    """Until whatever can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


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


async def test_nodes_that_were_reported_together_are_applied_together(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, segment([done("r", "a"), done("r", "b", 7)]))
    ended = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert [change.node for change in ended.nodes] == ["a", "b", "b"]
    assert (ended.status.status, ended.status.output) == ("succeeded", Inline(7))
    dispatched = [codec.node_ready.decode(r.value).node for r in bench.written(NAMES.node_ready("default"))]
    assert dispatched == ["a"], "b was done when a was reported"


async def test_of_a_late_report_nothing_counts_not_even_what_nobody_else_has_done(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a"))
    shown = len(bench.written(NAMES.run_results))
    late = replace(done("r", "a", 2), incarnation=Incarnation("other"))
    await bench.tell(NAMES.node_done, segment([late, done("r", "b", 8)]))
    assert len(bench.written(NAMES.run_results)) == shown, "b's output came of an output that does not count"


async def test_what_the_group_has_committed_is_not_sent_again(bench: Bench) -> None:
    record = await bench.tell(NAMES.run_requests, requested())
    bench.group.commit(bench.group.generation, {(record.topic, record.partition): record.offset + 1})
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    assert len(bench.written(NAMES.node_ready("default"))) == 1


async def test_a_finished_run_answers_repeats_with_nothing_and_another_input_with_a_conflict(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a"))
    await bench.tell(NAMES.node_done, done("r", "b", 7))
    shown = len(bench.written(NAMES.run_results))
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "b", 8))
    assert len(bench.written(NAMES.run_results)) == shown
    await bench.tell(NAMES.run_requests, requested(value=2, digest="other"))
    rejected = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (rejected.code, rejected.digest) == ("idempotency_conflict", "other")


async def test_an_unknown_graph_is_rejected_and_bad_records_are_kept(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested(graph="nobody"))
    rejected = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (rejected.code, rejected.message) == ("not_found", "no graph 'nobody' is deployed")
    await bench.tell(NAMES.run_requests, requested("x"), key="y")
    (letter,) = bench.written(NAMES.dead_letters)
    assert dict(letter.headers)["beluga-reason"] == b"invalid_input"
    assert letter.value == bench.written(NAMES.run_requests)[-1].value


async def test_starts_are_held_back_at_capacity_and_taken_again_below_it() -> None:
    bench = Bench(capacity=2)
    await bench.coordinator.acquire(OWNED)
    assert bench.coordinator.held_back == frozenset()
    for run in ("one", "two"):
        await bench.tell(NAMES.run_requests, requested(run))
    assert bench.coordinator.held_back == {NAMES.run_requests}
    for name in ("a", "b"):
        await bench.tell(NAMES.node_done, done("one", name))
    assert bench.coordinator.held_back == frozenset()


async def test_starts_are_held_back_while_what_has_begun_waits_for_a_worker_and_not_for_ever() -> None:
    bench = Bench(unanswered_most=1)
    await bench.coordinator.acquire(OWNED)
    for run in ("one", "two"):
        assert bench.coordinator.held_back == frozenset()
        await bench.tell(NAMES.run_requests, requested(run))
    assert bench.coordinator.held_back == {NAMES.run_requests}
    await bench.tell(NAMES.node_done, done("one", "a"))
    assert bench.coordinator.held_back == frozenset()
    await bench.tell(NAMES.run_requests, requested("three"))
    assert bench.coordinator.held_back == {NAMES.run_requests}
    bench.clock.now += 5_000
    assert bench.coordinator.held_back == frozenset()


async def test_a_deadline_passes_though_starts_wait_unread() -> None:
    bench = Bench()
    bench.plan = plan([node("a"), node("b")], edges("input > a > b"), ["b"], timeout_ms=100)
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested("one"))
    unread = codec.incoming.encode(requested("two"))
    await bench.log.append([Outgoing(NAMES.run_requests, b"two", unread)])
    tending = asyncio.create_task(bench.coordinator.tend())
    async with asyncio.timeout(10):
        await bench.log.wait({(NAMES.run_events, 0): 0})
    tending.cancel()
    (fired,) = bench.written(NAMES.run_events)
    assert isinstance(codec.incoming.decode(fired.value), TimerFired)


async def test_a_run_that_outgrows_its_record_fails_and_the_others_go_on() -> None:
    bench = Bench(state_limit_bytes=5_000)
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested("large"))
    await bench.tell(NAMES.run_requests, requested("small"))
    await bench.tell(NAMES.node_done, done("large", "a", "x" * 6_000))
    failed = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (failed.run, failed.status.status) == ("large", "failed")
    assert failed.status.failure.code == "resource_exhausted"
    await bench.tell(NAMES.node_done, done("small", "a"))
    assert codec.node_ready.decode(bench.written(NAMES.node_ready("default"))[-1].value).run == "small"


async def test_a_topic_that_was_created_again_is_refused(bench: Bench) -> None:
    bench.group.commit(bench.group.generation, {(NAMES.node_done, 0): 12})
    with pytest.raises(TopicMismatch, match="was deleted and created again"):
        await bench.another().acquire(OWNED)


async def test_what_its_last_owner_reads_while_a_partition_is_taken_over_makes_no_other_topic_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_table = bench.tables.open

    async def opened_late(number: int) -> MemoryPartitionTable:
        await bench.tell(NAMES.run_requests, requested("late"))
        return await open_table(number)

    monkeypatch.setattr(bench.tables, "open", opened_late)
    other = bench.another()
    await other.acquire(OWNED)
    assert RunId("late") in other.owned[0].runs


async def test_a_state_keeps_a_value_no_longer_than_somebody_wants_it() -> None:
    bench = Bench(state_limit_bytes=20_000)
    names = [f"n{number}" for number in range(10)]
    bench.plan = plan([node(name) for name in names], edges(" > ".join(["input", *names])), [names[-1]])
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested())
    for name in names:
        await bench.tell(NAMES.node_done, done("r", name, "x" * 6_000))
    ended = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert ended.status.status == "succeeded", "ten values of 6 kB went through a state of 20 kB"
    assert ended.status.output == Inline("x" * 6_000)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


async def test_what_is_let_in_can_be_read_from_the_table_however_deep_it_is(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested())
    deep = SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="s", id="1", value=Inline(nested(148)))
    await bench.tell(NAMES.run_events, deep)
    state = bench.coordinator.owned[0].state(RunId("r"))
    assert state is not None
    assert state.signals[0].value == deep.value
    await bench.another().acquire(OWNED)
    assert bench.written(NAMES.dead_letters) == []
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_events, replace(deep, id="2", value=Inline(nested(149))))
    assert len(bench.written(NAMES.dead_letters)) == 1


async def test_a_run_is_remembered_until_its_end_is_told() -> None:
    bench = Bench(dedup_most=0)
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a"))
    bench.appender.hanging = held = asyncio.Event()
    ends = asyncio.create_task(bench.tell(NAMES.node_done, done("r", "b")))
    other = asyncio.create_task(bench.tell(NAMES.run_requests, requested("s")))
    await a_while()
    rows = bench.tables.changelogs[0].rows
    assert {"r", "s"} <= rows.keys()
    held.set()
    await asyncio.gather(ends, other)
    await bench.tell(NAMES.node_done, done("s", "a"))
    assert "r" not in rows
    await bench.tell(NAMES.node_done, done("s", "b"))
    assert "r" not in rows, "its marker is not written again"


async def test_runs_that_are_forgotten_before_their_time_are_told_of_once_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(dedup_most=2, dedup_window_ms=10 * 3_600_000)
    await bench.coordinator.acquire(OWNED)

    async def ends(*runs: str) -> None:
        for run in runs:
            await bench.tell(NAMES.run_requests, requested(run))
            await bench.tell(NAMES.node_done, done(run, "a"))
            await bench.tell(NAMES.node_done, done(run, "b"))

    def told() -> list[Any]:
        return [record for record in caplog.records if getattr(record, "action", "") == "dedup_most"]

    await ends("r", "s")
    assert told() == [], "both are remembered"
    bench.clock.now += 60_000
    await ends("t", "u", "v")
    assert [record.seconds for record in told()] == [60]
    assert "before BELUGA_DEDUP_WINDOW_HOURS is over" in caplog.text
    bench.clock.now += 3_600_000
    await ends("w")
    assert len(told()) == 2
    bench.clock.now += 11 * 3_600_000
    await ends("x", "y")
    assert len(told()) == 2, "their time was over"


async def test_what_is_only_on_its_way_makes_no_run_too_large() -> None:
    calm = Bench()
    await calm.coordinator.acquire(OWNED)
    sizes = [0]
    for topic, event in ((NAMES.run_requests, requested()), (NAMES.node_done, done("r", "a"))):
        await calm.tell(topic, event)
        sizes.append(len(calm.tables.changelogs[0].rows["r"]))
    bench = Bench(state_limit_bytes=max(sizes) + 10)
    await bench.coordinator.acquire(OWNED)
    bench.appender.hanging = held = asyncio.Event()
    first = asyncio.create_task(bench.tell(NAMES.run_requests, requested()))
    await a_while()
    second = asyncio.create_task(bench.tell(NAMES.node_done, done("r", "a")))
    await a_while()
    held.set()
    await asyncio.gather(first, second)
    state = bench.coordinator.owned[0].state(RunId("r"))
    assert state is not None
    assert state.status is RunStatus.RUNNING


async def test_what_an_owner_told_itself_of_a_run_that_it_never_wrote_is_no_dead_letter(bench: Bench) -> None:
    await bench.tell(NAMES.run_events, TimerFired(run=RunId("r"), key="r", at_ms=1, node=None, attempt=0, due_ms=1))
    assert bench.written(NAMES.dead_letters) == []
