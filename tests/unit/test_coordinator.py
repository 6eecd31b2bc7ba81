"""The coordinator on a log in memory: what is durable before what, what it refuses, and when it holds back."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import MemoryPartitionTable
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.coordinator.coordinator import Coordinator
from beluga_stream.application.messages import Progress, Rejected
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.application.worker.fusion import segment
from beluga_stream.domain.events import (
    CancelRequested,
    ChildFinished,
    Parent,
    RunRequested,
    SignalReceived,
    TimerFired,
)
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline, Payload
from beluga_stream.domain.state import RunStatus
from beluga_stream.errors import InvalidInput, LogUnavailable, TopicMismatch, UnknownVersion
from beluga_stream.ports.log import Outgoing
from tests.unit.coordinating import NAMES, OWNED, Bench, StillClock, a_while, done, requested
from tests.unit.graphs import edges, node, plan


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


async def test_a_finished_run_answers_repeats_with_nothing_and_another_input_with_a_conflict(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a"))
    await bench.tell(NAMES.node_done, done("r", "b", 7))
    shown = len(bench.written(NAMES.run_results))
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "b", 8))
    assert len(bench.written(NAMES.run_results)) == shown
    assert not caplog.records
    await bench.tell(NAMES.run_requests, requested(value=2, digest="other"))
    assert "rejected a start by api: run r was started with another input" in caplog.text
    rejected = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (rejected.code, rejected.digest) == ("idempotency_conflict", "other")


async def test_a_child_begins_anew_for_a_later_run_of_its_parents_id_and_for_no_other(bench: Bench) -> None:
    def asked(began: int, value: int) -> RunRequested:
        return replace(requested(value=value), parent=Parent(RunId("p"), "p", NodeKey("sub"), began))

    async def ended() -> list[Payload | None]:
        for event in (done("r", "a"), done("r", "b", 7)):
            await bench.tell(NAMES.node_done, event)
        told = [codec.incoming.decode(record.value) for record in bench.written(NAMES.run_events)]
        return [event.output for event in told if isinstance(event, ChildFinished)]

    await bench.tell(NAMES.run_events, asked(1_000, 1))
    assert await ended() == [Inline(7)]
    for repeated in (0, 900, 1_000):
        await bench.tell(NAMES.run_events, asked(repeated, 1))
        assert len(bench.coordinator.owned[0].runs) == 0
    bench.clock.now += 1_000
    await bench.tell(NAMES.run_events, asked(2_000, 2))
    work = codec.node_ready.decode(bench.written(NAMES.node_ready("default"))[-1].value)
    assert work.arguments[0].payload == Inline(2)
    assert await ended() == [Inline(7), Inline(7)]
    assert len(bench.coordinator.owned[0].runs) == 0
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    assert [run for _, run in bench.coordinator.owned[0].ended] == [RunId("r")]


async def test_an_unknown_graph_is_rejected_and_bad_records_are_kept(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested(graph="nobody"))
    rejected = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (rejected.code, rejected.message) == ("not_found", "no graph 'nobody' is deployed")
    await bench.tell(NAMES.run_requests, requested("m", graph="tset"))
    rejected = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert rejected.message == "no graph 'tset' is deployed: is 'test' meant?"
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


async def test_who_gave_the_key_of_a_run_that_outgrows_its_record_is_answered_all_the_same() -> None:
    bench = Bench(state_limit_bytes=5_000)
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested())
    both = {NAMES.run_requests: requested(value=2, digest="other"), NAMES.node_done: done("r", "a", "x" * 6_000)}
    await bench.log.append([Outgoing(topic, b"r", codec.incoming.encode(event)) for topic, event in both.items()])
    later = await bench.coordinator.handle([bench.written(topic)[-1] for topic in both])
    assert later is not None
    await later
    told = [codec.results.decode(record.value) for record in bench.written(NAMES.run_results)]
    assert [each.digest for each in told if isinstance(each, Rejected)] == ["other"]
    ends = [each.status for each in told if isinstance(each, Progress) and each.status is not None]
    assert [(end.status, end.failure and end.failure.code) for end in ends][-1] == ("failed", "resource_exhausted")


async def test_a_topic_that_was_created_again_is_refused(bench: Bench) -> None:
    bench.group.commit(bench.group.generation, {(NAMES.node_done, 0): 12})
    with pytest.raises(TopicMismatch, match="was deleted and created again"):
        await bench.another().acquire(OWNED)


async def test_when_one_partition_cannot_be_had_no_other_is_claimed_any_more() -> None:
    """The process ends, and whoever has them next would be refused by a claim that came late."""
    opening, given_up = asyncio.Event(), asyncio.Event()

    class Tables:
        async def open(self, partition: int) -> Any:
            if partition == 1:
                await opening.wait()
                raise LogUnavailable("the disk is full")
            opening.set()
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()

        async def committed(self, partition: int) -> Any:
            raise AssertionError("nothing was opened")

    names, log = Topics(partitions=2), MemoryLog()
    log.create(names.specs([]))
    coordinator = Coordinator(
        topics=names,
        tables=Tables(),
        appender=log,
        reader=log,
        catalog=Catalog(log, names),
        payloads=Payloads(MemoryBlobs()),
        clock=StillClock(),
    )
    with pytest.raises(LogUnavailable, match="the disk is full"):
        await coordinator.acquire(frozenset({0, 1}))
    assert given_up.is_set()


async def test_a_topic_that_has_got_more_partitions_is_told_of(bench: Bench) -> None:
    with pytest.raises(TopicMismatch, match=r"has got a partition 1: somebody has added") as caught:
        await bench.another().acquire(frozenset({0, 1}))
    assert NAMES.run_events in str(caught.value)


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


async def test_a_run_that_is_over_and_told_is_a_marker_that_sends_nothing_again(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a"))
    await bench.tell(NAMES.node_done, done("r", "b", 7))
    rows = bench.tables.changelogs[0].rows
    assert codec.kept.decode(rows["r"]).intents, "they are not known to be sent before the next batch"
    await bench.tell(NAMES.run_requests, requested("s"))
    kept = codec.kept.decode(rows["r"])
    assert (kept.intents, kept.state.nodes, kept.state.output) == ((), {}, Inline(7))


async def test_a_cancel_before_its_run_is_remembered_as_long_as_an_end(bench: Bench) -> None:
    bench.clock.now = 200_000_000
    await bench.tell(NAMES.run_events, CancelRequested(run=RunId("r"), key="r", at_ms=1))
    await bench.tell(NAMES.run_requests, requested("s"))
    await bench.tell(NAMES.run_requests, requested())
    state = bench.coordinator.owned[0].state(RunId("r"))
    assert state is not None
    assert state.status is RunStatus.CANCELLED
    assert [codec.node_ready.decode(each.value).run for each in bench.written(NAMES.node_ready("default"))] == ["s"]


@pytest.mark.parametrize(("value", "error"), [(b"garbled", InvalidInput), (b'{"v":99}', UnknownVersion)])
async def test_a_table_that_cannot_be_read_is_taken_over_by_nobody(
    bench: Bench, value: bytes, error: type[Exception]
) -> None:
    await bench.tell(NAMES.run_requests, requested())
    bench.tables.changelogs[0].rows["r"] = value
    other = bench.another()
    with pytest.raises(error):
        await other.acquire(OWNED)
    assert not other.owned


async def test_a_partition_is_given_up_once_all_that_was_decided_is_sent(bench: Bench) -> None:
    bench.appender.hanging = held = asyncio.Event()
    telling = asyncio.create_task(bench.tell(NAMES.run_requests, requested()))
    await a_while()
    releasing = asyncio.create_task(bench.coordinator.release(OWNED))
    await a_while()
    assert bench.coordinator.owned.keys() == OWNED
    held.set()
    await asyncio.gather(telling, releasing)
    assert len(bench.written(NAMES.node_ready("default"))) == 1
    assert not bench.coordinator.owned


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
