"""What was read before is read again after a crash: nothing of it happens twice, however things stand by then."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from beluga_stream.application import codec
from beluga_stream.application.codec import Kept
from beluga_stream.application.messages import Rejected
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import CancelRequested, NodeOverridden, RetryRequested, SignalReceived
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Record
from tests.unit.coordinating import NAMES, OWNED, Bench, bench_of, done, failure, requested
from tests.unit.graphs import edges, name, node, plan

R = RunId("r")
TOPICS = (NAMES.run_requests, NAMES.run_events, NAMES.node_done)


def row(bench: Bench, run: str = "r") -> Kept:
    return codec.kept.decode(bench.tables.changelogs[0].rows[run])


async def crash(bench: Bench, topics: Sequence[str] = TOPICS, *, resting_bytes: int | None = None) -> None:
    """Another owner takes over, and reads everything once more: nothing was acknowledged."""
    if resting_bytes is not None:
        bench.options = changed(bench.options, resting_bytes=resting_bytes)
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    for topic in topics:
        for record in bench.written(topic):
            await bench.handle(record)


def cancel() -> CancelRequested:
    return CancelRequested(run=R, key="r", at_ms=3)


def retry() -> RetryRequested:
    return RetryRequested(run=R, key="r", at_ms=4, id="q")


def sent(number: int, signal: str = "go") -> SignalReceived:
    return SignalReceived(run=R, key="r", at_ms=2, signal=signal, id=str(number), value=Inline(number))


async def test_a_cancel_that_came_too_late_does_not_reach_what_was_retried_after_it() -> None:
    bench = await bench_of()
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, failure("r", "a"))
    await bench.tell(NAMES.run_events, cancel())
    await bench.tell(NAMES.run_events, retry())
    # By another topic again: the row must still say how far this one went.
    await bench.tell(NAMES.node_done, replace(done("r", "a"), attempt=2))
    for _ in range(2):
        await crash(bench)
        assert row(bench).state.status == "running"
    await bench.tell(NAMES.node_done, done("r", "b"))
    assert row(bench).state.status == "succeeded"


async def test_a_signal_wakes_one_wait_however_many_came_since() -> None:
    waits = [node("first", NodeKind.WAIT, signal="go"), node("second", NodeKind.WAIT, signal="go")]
    bench = await bench_of(plan(waits, edges("input > first > second"), ["second"]))
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.run_events, sent(1))
    for number in range(2, 302):
        await bench.tell(NAMES.run_events, sent(number, "other"))
    await crash(bench, resting_bytes=0)
    assert row(bench).state.status == "running"
    await bench.tell(NAMES.run_events, sent(302))
    assert row(bench).state.output == Inline(302)


async def test_a_later_override_is_not_undone_and_news_is_taken() -> None:
    bench = await bench_of()
    await bench.tell(NAMES.run_requests, requested())
    for attempts in (2, 3):
        await bench.tell(NAMES.run_events, NodeOverridden(run=R, key="r", at_ms=1, node=name("a"), attempts=attempts))
    await bench.log.append([Outgoing(NAMES.run_events, b"r", codec.incoming.encode(cancel()))])
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    first, _, news = bench.written(NAMES.run_events)
    await bench.handle(first)
    await bench.handle(news)
    assert row(bench).state.overrides[name("a")].attempts == 3
    assert row(bench).state.status == "cancelled"


async def test_what_remains_of_a_run_says_how_far_its_topics_went() -> None:
    bench = await bench_of()
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.run_events, sent(1))
    await bench.tell(NAMES.node_done, done("r", "a"))
    await bench.tell(NAMES.node_done, done("r", "b"))
    whole = {NAMES.run_requests: 0, NAMES.run_events: 0, NAMES.node_done: 1}
    assert row(bench).source == whole
    await bench.tell(NAMES.run_requests, requested("other"))
    assert row(bench).intents == ()
    assert row(bench).source == whole


def commit(bench: Bench, records: Sequence[Record]) -> None:
    bench.group.commit(bench.group.generation, {(each.topic, each.partition): each.offset + 1 for each in records})


async def test_a_group_that_the_broker_has_forgotten_runs_nothing_again() -> None:
    bench = await bench_of(dedup_window_ms=10_000)
    records = [
        await bench.tell(NAMES.run_requests, requested()),
        await bench.tell(NAMES.node_done, done("r", "a")),
        await bench.tell(NAMES.node_done, done("r", "b")),
    ]
    bench.clock.now += 20_000
    records.append(await bench.tell(NAMES.run_requests, requested("later")))
    assert "r" not in bench.tables.changelogs[0].rows
    commit(bench, records)
    bench.group = type(bench.group)("coordinators")
    bench.tables._group = bench.group
    dispatched = len(bench.written(NAMES.node_ready("default")))
    await crash(bench)
    assert "r" not in bench.tables.changelogs[0].rows
    again = [codec.node_ready.decode(r.value).run for r in bench.written(NAMES.node_ready("default"))[dispatched:]]
    assert again == ["later"], "of the last batch nobody can say whether it was sent"


async def test_what_was_refused_and_may_not_have_been_told_is_told_again() -> None:
    bench = await bench_of()
    await bench.tell(NAMES.run_requests, requested())
    bench.appender.breaks = True
    await bench.log.append([Outgoing(NAMES.run_requests, b"x", codec.incoming.encode(requested("x", graph="no")))])
    record = bench.written(NAMES.run_requests)[-1]
    with pytest.raises(LogUnavailable):
        await bench.handle(record)
    bench.appender.breaks = False
    await crash(bench)
    told = [codec.results.decode(each.value) for each in bench.written(NAMES.run_results)]
    assert [each.run for each in told if isinstance(each, Rejected)] == ["x"]


async def test_a_batch_is_done_when_all_before_it_are_sent() -> None:
    bench = await bench_of()
    bench.appender.hanging = asyncio.Event()
    await bench.log.append([Outgoing(NAMES.run_requests, b"r", codec.incoming.encode(requested()))] * 2)
    news, repeated = bench.written(NAMES.run_requests)
    sending = await bench.coordinator.handle([news])
    assert sending is not None
    await bench.handle(repeated)
    owned = bench.coordinator.owned[0]
    assert owned.offsets.done[NAMES.run_requests] == 0, "the second had nothing to send, and the first is not sent"
    bench.appender.hanging.set()
    await sending
    assert owned.offsets.done[NAMES.run_requests] == 2
