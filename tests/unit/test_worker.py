"""A worker runs what it is handed, reports it durably, and only then lets it be acknowledged."""

import asyncio
import contextlib
from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.application import codec
from beluga_stream.application.execution.context import context
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.messages import (
    Argument,
    BegunNotice,
    CancelNotice,
    ChunkEmitted,
    Feed,
    Heartbeat,
    NodeChange,
    Progress,
)
from beluga_stream.application.worker import slots
from beluga_stream.application.worker.fusion import FUSED_MOST
from beluga_stream.application.worker.worker import WorkerOptions
from beluga_stream.bootstrap.logs import _REPEATING
from beluga_stream.domain.events import (
    NodeFailed,
    NodeParked,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    Source,
    StreamVoid,
)
from beluga_stream.domain.ids import Incarnation, NodeKey
from beluga_stream.domain.payload import NOTHING, Gathered, Inline
from beluga_stream.errors import LogUnavailable, StreamBroken
from beluga_stream.ports.log import Outgoing, Record
from tests.unit.engines import RUN, TOPICS, WorkerBench, handler, program
from tests.unit.gates import Gate, bench, sweep, taken, tasks
from tests.unit.graphs import chain_of


async def test_a_batch_is_acknowledged_when_its_outcomes_are_durable() -> None:
    async def double(value: int) -> int:
        return value * 2

    of = bench(double)
    await (await taken(of.worker, of.work(value=1), of.work("a[1]", value=4)))
    first, second = of.done()
    assert isinstance(first, NodeSucceeded)
    assert {first.output.value, second.output.value} == {2, 8}  # type: ignore[union-attr]
    await of.worker.close()


async def test_a_long_node_is_reported_before_it_is_acknowledged_and_then_beats() -> None:
    gate = Gate()
    of = bench(gate, lease_after_ms=2_000, heartbeat_ms=5_000)
    acknowledged = await taken(of.worker, of.work())
    await gate.began.wait()
    await sweep(of.worker)
    assert of.done() == []
    of.clock.now += 2_000
    await sweep(of.worker)
    await acknowledged
    assert isinstance(of.done()[0], NodeStarted)
    of.clock.now += 5_000
    await sweep(of.worker)
    assert isinstance(of.done()[1], Heartbeat)
    again = await taken(of.worker, of.work())
    await again
    gate.open.set()
    await asyncio.wait(tasks(of.worker))
    await of.worker.release(frozenset({0}))
    assert [type(event) for event in of.done()] == [NodeStarted, Heartbeat, NodeSucceeded]
    assert gate.calls == 1
    await of.worker.close()


async def test_a_clock_that_is_set_back_silences_no_worker() -> None:
    gate = Gate()
    of = bench(gate, lease_after_ms=2_000, heartbeat_ms=5_000)
    acknowledged = await taken(of.worker, of.work())
    await gate.began.wait()
    of.clock.now -= 3_600_000
    await sweep(of.worker)
    await acknowledged
    of.clock.now -= 3_600_000
    await sweep(of.worker)
    assert [type(event) for event in of.done()] == [NodeStarted, Heartbeat]
    await sweep(of.worker)
    of.clock.now += 5_000
    await sweep(of.worker)
    assert [type(event) for event in of.done()] == [NodeStarted, Heartbeat, Heartbeat]
    gate.open.set()
    await of.worker.close()


async def test_what_a_handler_tells_by_its_heartbeats_reaches_the_next_attempt() -> None:
    seen: list[Any] = []
    told, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(value: Any) -> Any:
        seen.append(context().heartbeat_details)
        await context().heartbeat({"at": value})
        told.set()
        await go_on.wait()
        await context().heartbeat()
        raise ConnectionError("gone")

    of = bench(slowly)
    acknowledged = await taken(of.worker, of.work(value=5, details=Inline([1, 2])))
    await told.wait()
    of.clock.now += 2_000
    await sweep(of.worker)
    await acknowledged
    go_on.set()
    await of.worker.close()
    assert seen == [[1, 2]]
    first, started, second, failed = of.done()
    assert [type(event) for event in (first, second)] == [Heartbeat, Heartbeat]
    assert isinstance(started, NodeStarted)
    assert isinstance(failed, NodeFailed)
    assert [event.details for event in (first, started, second, failed)] == [Inline({"at": 5})] * 4


async def test_a_heartbeat_with_what_cannot_be_json_fails_the_attempt() -> None:
    async def wrongly(value: Any) -> Any:
        await context().heartbeat({1, 2})
        return value

    of = bench(wrongly)
    await (await taken(of.worker, of.work()))
    (failed,) = of.done()
    assert isinstance(failed, NodeFailed)
    assert "cannot become JSON" in failed.failure.message
    await of.worker.close()


async def test_a_redelivery_waits_for_what_runs_and_is_answered_with_what_it_gave() -> None:
    gate = Gate()
    of = bench(gate)
    first = await taken(of.worker, of.work())
    second = await taken(of.worker, of.work())
    await gate.began.wait()
    assert not first.done()
    assert not second.done()
    gate.open.set()
    await asyncio.gather(first, second)
    await (await taken(of.worker, of.work()))
    outcomes = of.done()
    assert gate.calls == 1
    assert len(outcomes) == 2
    assert outcomes[0] == outcomes[1]
    await of.worker.close()


async def test_a_cancel_notice_stops_what_runs_and_keeps_the_rest_from_beginning() -> None:
    gate = Gate()
    of = bench(gate)
    running = await taken(of.worker, of.work())
    await gate.began.wait()
    notice = CancelNotice(run=RUN, generation=1)
    of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
    await running
    await (await taken(of.worker, of.work("a[1]")))
    assert gate.stopped
    assert (gate.calls, of.done()) == (1, [])
    retried = await taken(of.worker, of.work(generation=1, attempt=2))
    gate.open.set()
    await retried
    assert isinstance(of.done()[0], NodeSucceeded)
    await of.worker.close()


async def test_what_cleans_up_is_not_cut_off_by_another_notice_of_its_run() -> None:
    began, cleaning, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def tidy(value: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.01)
            cleaned.set()

    of = bench(tidy)
    running = await taken(of.worker, of.work())
    await began.wait()
    # It is superfluous to a join, and then the run fails; and who takes partitions over reads the last notices again.
    notices = [CancelNotice(run=RUN, generation=0, attempts=("a/1",)), CancelNotice(run=RUN, generation=1)]
    for notice in (*notices, notices[-1]):
        of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
        await cleaning.wait()
    await running
    assert cleaned.is_set()
    await of.worker.close()


async def test_what_is_known_of_a_run_says_nothing_of_a_later_one_of_its_id() -> None:
    async def double(value: int) -> int:
        return value * 2

    of = bench(double)
    await (await taken(of.worker, of.work(value=1, generation=1_000)))
    notices = [
        CancelNotice(run=RUN, generation=1_001),
        CancelNotice(run=RUN, generation=1_001, attempts=("a/1",)),
        BegunNotice(run=RUN, attempt="a/1", generation=1_000),
    ]
    of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(each)) for each in notices])
    await (await taken(of.worker, of.work("a[1]", value=2, generation=1_000)))
    assert len(of.done()) == 1, "the first one is cancelled"
    await (await taken(of.worker, of.work(value=3, generation=9_000)))
    assert [event.output for event in of.done()] == [Inline(2), Inline(6)]
    await of.worker.close()


async def test_what_is_cancelled_before_its_first_step_is_acknowledged_and_forgotten() -> None:
    """A task that is cancelled before it has begun runs none of its code, not even what cleans up."""
    of = bench(Gate())
    acknowledged = await taken(of.worker, of.work())
    notice = CancelNotice(run=RUN, generation=1)
    of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
    async with asyncio.timeout(5):
        await acknowledged
    assert not of.worker.running
    await of.worker.close()


async def test_cancels_are_known_before_work_is_taken() -> None:
    async def never(value: Any) -> Any:
        raise AssertionError("it is cancelled")

    of = bench(never)
    notice = CancelNotice(run=RUN, generation=0, attempts=("a/1",))
    await of.log.append([Outgoing(TOPICS.control, None, codec.control.encode(notice), partition=0)])
    await of.worker.acquire(frozenset({0}))
    await (await taken(of.worker, of.work()))
    assert of.done() == []
    await of.worker.close()


async def test_an_empty_batch_of_control_is_no_news() -> None:
    of = bench(Gate())
    seen = asyncio.Event()

    class Reader:
        async def read(self, topic: str, start: Any, *, until: Any = None) -> Any:
            yield ()
            seen.set()
            await asyncio.Event().wait()

        async def beginning(self, topic: str) -> dict[int, int]:
            return {0: 0}

    of.worker._notices._reader = Reader()  # type: ignore[assignment]
    following = asyncio.create_task(of.worker._notices.follow())
    await seen.wait()
    assert not following.done()
    following.cancel()
    await asyncio.wait([following])
    await of.worker.close()


async def test_missing_code_parks_the_node(caplog: pytest.LogCaptureFixture) -> None:
    of = bench(Gate())
    await (await taken(of.worker, of.work(definition="another")))
    (parked,) = of.done()
    assert isinstance(parked, NodeParked)
    assert parked.worker == of.worker.name
    (line,) = [record for record in caplog.records if getattr(record, "action", None) == "park"]
    assert line.name in _REPEATING, "of a thousand runs that are offered again and again it is said now and then"
    await of.worker.close()


async def test_an_interrupt_that_an_async_handler_raises_is_its_failure_where_ctrl_c_comes_otherwise() -> None:
    async def interrupt(value: Any) -> Any:
        raise KeyboardInterrupt

    program = bench(interrupt).program
    of = WorkerBench(program, executions=Executions(interrupts="handlers_own"))
    await (await taken(of.worker, of.work()))
    failed = of.done()[0]
    assert isinstance(failed, NodeFailed)
    assert "the handler raised KeyboardInterrupt" in failed.failure.message
    await of.worker.close()


class LoopEnds(BaseException):
    """As Ctrl-C is, which a test would end with."""


class Ending(Executions):
    """Runs nothing any more."""

    async def run(self, *_: Any, **__: Any) -> Any:
        raise LoopEnds


async def test_what_ends_with_the_loop_is_not_acknowledged() -> None:
    of = WorkerBench(bench(Gate()).program, executions=Ending())
    acknowledged = await taken(of.worker, of.work())
    with pytest.raises(LoopEnds):
        await acknowledged
    assert of.done() == []
    await of.worker.close()


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(ValueError("no"), True), (TypeError("no"), False), (SystemExit(3), False), (GeneratorExit(), True)],
)
async def test_what_a_handler_raises_is_its_failure(error: Any, *, retryable: bool) -> None:
    async def fail(value: Any) -> Any:
        raise error

    of = bench(fail)
    await (await taken(of.worker, of.work()))
    failed = of.done()[0]
    assert isinstance(failed, NodeFailed)
    assert failed.retryable is retryable
    await of.worker.close()


async def test_a_handler_that_waited_for_something_cancelled_has_failed_and_is_not_forgotten() -> None:
    async def fail(value: Any) -> Any:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    of = bench(fail)
    await (await taken(of.worker, of.work()))
    assert of.done()[0].retryable
    await of.worker.close()


async def test_a_timeout_is_a_failure_worth_another_attempt() -> None:
    of = bench(Gate())
    await (await taken(of.worker, of.work(timeout_ms=1)))
    failed = of.done()[0]
    assert (failed.failure.code, failed.retryable) == ("timeout", True)
    await of.worker.close()


async def test_chunks_are_durable_before_the_outcome_that_counts_them() -> None:
    async def stream(value: Any) -> Any:
        for number in range(300):
            yield number

    of = bench(stream, streams=True)
    append, together = of.log.append, []

    async def noted(records: Any) -> Any:
        positions = await append(records)
        together.append({record.topic for record in records})
        return positions

    of.log.append = noted  # type: ignore[method-assign]
    await (await taken(of.worker, of.work()))
    assert together[-1] == {TOPICS.node_done}, "of one write some partitions may fail"
    chunks = [codec.results.decode(each.value) for each in of.log.records(TOPICS.run_results, 0)]
    assert [chunk.seq for chunk in chunks if isinstance(chunk, ChunkEmitted)] == list(range(300))
    streaming, succeeded = of.done()
    assert isinstance(streaming, NodeStreaming)
    assert (streaming.partition, streaming.offset) == (0, 0)
    assert succeeded.chunks == 300
    await of.worker.close()


async def test_a_stream_that_is_stopped_cleans_up_at_once() -> None:
    cleaned: list[bool] = []

    async def stream(value: Any) -> Any:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    of = bench(stream, streams=True)
    await (await taken(of.worker, of.work(timeout_ms=20)))
    assert cleaned == [True]
    await of.worker.close()


async def test_garbage_goes_to_the_dead_letters_and_is_acknowledged() -> None:
    of = bench(Gate())
    await (await taken(of.worker, Record(TOPICS.node_ready("default"), 0, 7, b"k", b"{")))
    letter = of.log.records(TOPICS.dead_letters, 0)[0]
    assert dict(letter.headers)["beluga-source"] == b"beluga.node-ready.default/0/7"
    await of.worker.close()


async def test_the_key_for_outside_services_is_the_same_for_each_attempt() -> None:
    keys: list[str] = []

    async def note(value: Any) -> None:
        keys.append(context().idempotency_key)

    of = bench(note)
    await (await taken(of.worker, of.work(), of.work(attempt=2)))
    assert keys == [f"{RUN}/a"] * 2
    await of.worker.close()


async def test_a_log_that_fails_under_a_stream_is_no_failure_of_its_handler() -> None:
    async def stream(value: Any) -> Any:
        yield 1

    of = bench(stream, streams=True)

    async def refuse(records: Any) -> Any:
        raise LogUnavailable("gone")

    of.log.append = refuse  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable):
        await (await taken(of.worker, of.work()))
    assert of.done() == []


@pytest.mark.parametrize("goes_on", [False, True])
async def test_whatever_a_handler_makes_of_a_stream_that_was_broken_off_does_not_count(*, goes_on: bool) -> None:
    async def reads(value: Any) -> Any:
        try:
            return await value.whole()
        except StreamBroken:
            if goes_on:
                return "made of what is void"
            raise

    of = bench(reads)
    try:
        begun = {"run": RUN, "node": NodeKey("writes"), "attempt": 1, "at_ms": 0, "value": Inline(1)}
        first = ChunkEmitted(**begun, incarnation=Incarnation("w"), seq=0)
        again = NodeChange(NodeKey("writes"), "ready", 9, 2)
        for record in (first, Progress(run=RUN, graph="g", at_ms=0, nodes=(again,))):
            await of.log.append([Outgoing(TOPICS.run_results, RUN.encode(), codec.results.encode(record))])
        source = Source(NodeKey("writes"), Incarnation("w"), 0, 0, counter=3)
        await (await taken(of.worker, of.work(arguments=(Argument("value", NOTHING, stream=source),))))
        assert [type(event) for event in of.done()] == [StreamVoid]
    finally:
        await of.worker.close()


def fusing(call: Any, length: int) -> WorkerBench:
    """A worker that goes on with the next node of a line, since all of it lately was quick."""
    handlers = {f"n{number}": handler(call) for number in range(length)}
    of = WorkerBench(program(chain_of(length), handlers), WorkerOptions(fuse_ms=10_000))
    for node in handlers:
        of.worker._fusion.took(codec.node_ready.decode(of.work(node).value), 0)
    return of


async def test_no_more_nodes_are_reported_together_than_fit_a_record() -> None:
    async def same(value: Any) -> Any:
        return value

    of = fusing(same, 20)
    await (await taken(of.worker, of.work("n0")))
    (reported,) = of.done()
    assert [outcome.node for outcome in reported.outcomes] == [f"n{number}" for number in range(FUSED_MOST)]
    await of.worker.close()


async def test_what_may_kill_its_process_is_reported_before_the_next_node_begins() -> None:
    calls: list[Any] = []

    async def noted(value: Any) -> Any:
        calls.append(value)
        return value

    of = fusing(noted, 2)
    await (await taken(of.worker, of.work("n0", losses=1)))
    await asyncio.gather(*tasks(of.worker))
    assert [type(event) for event in of.done()] == [NodeStarted, NodeSucceeded]
    assert len(calls) == 1
    await of.worker.close()


@pytest.mark.parametrize(("generation", "attempts"), [(1, ()), (0, ("n0/1",)), (0, ("n1/1",))])
async def test_a_worker_goes_on_with_nothing_that_was_cancelled(generation: int, attempts: tuple[str, ...]) -> None:
    calls: list[Any] = []

    async def noted(value: Any) -> Any:
        calls.append(value)
        notice = CancelNotice(run=RUN, generation=generation, attempts=attempts)
        of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return value

    of = fusing(noted, 2)
    await (await taken(of.worker, of.work("n0")))
    assert len(calls) == 1
    await of.worker.close()


@pytest.mark.parametrize(("bound", "most"), [("_MOST", 1), ("_MOST_BYTES", 400)])
async def test_a_redelivery_whose_outcome_is_forgotten_runs_again(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(f"beluga_stream.application.worker.reported.{bound}", most)
    gate = Gate()
    gate.open.set()
    of = bench(gate)
    await (await taken(of.worker, of.work("a[0]")))
    await (await taken(of.worker, of.work("a[1]")))
    await (await taken(of.worker, of.work("a[1]")))
    assert gate.calls == 2
    await (await taken(of.worker, of.work("a[0]")))
    assert gate.calls == 3
    first, _, _, again = of.done()
    # The reducer takes the first incarnation's: see test_reducer_table.
    assert (again.node, again.attempt, again.output) == (first.node, first.attempt, first.output)
    assert again.incarnation != first.incarnation
    await of.worker.close()


async def test_a_handler_that_does_not_stop_gives_its_slot_back(caplog: pytest.LogCaptureFixture) -> None:
    stubborn = Gate()
    ran, end = asyncio.Event(), asyncio.Event()

    async def run(value: Any) -> Any:
        if value == "quick":
            ran.set()
            return value
        with contextlib.suppress(asyncio.CancelledError):
            await stubborn(value)
        await end.wait()
        return None

    of = bench(run, slots=1)
    running = await taken(of.worker, of.work(value="stubborn"))
    await stubborn.began.wait()
    notice = CancelNotice(run=RUN, generation=0, attempts=("a/1",))
    of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
    quick = await taken(of.worker, of.work(value="quick", attempt=2))
    await sweep(of.worker)
    assert not running.done()
    of.clock.now += 6_000
    await sweep(of.worker)
    await sweep(of.worker)
    await asyncio.gather(running, quick, ran.wait())
    assert caplog.text.count("goes on though it was cancelled") == 1
    end.set()
    await of.worker.close()


async def test_no_more_is_taken_while_many_wait_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_WAITING_MOST", 4)
    gate = Gate()
    of = bench(gate, slots=2, lease_after_ms=0)
    assert of.worker.held_back == frozenset()
    batches = [await taken(of.worker, of.work(attempt=attempt)) for attempt in range(1, 7)]
    await gate.began.wait()
    await sweep(of.worker)
    await asyncio.gather(*batches)
    assert of.worker.held_back == {TOPICS.node_ready("default")}
    notice = CancelNotice(run=RUN, generation=0, attempts=("a/4", "a/5"))
    of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
    await asyncio.sleep(0)
    assert of.worker.held_back == {TOPICS.node_ready("default")}, "half of them still wait"
    gate.open.set()
    await asyncio.wait(tasks(of.worker))
    assert of.worker.held_back == frozenset()
    await of.worker.close()


async def test_work_that_is_not_what_it_says_fails_its_node_and_ends_no_worker() -> None:
    async def same(value: int) -> int:
        return value

    of = bench(same)
    broken = Gathered((Inline(1),), ("a", "b"))
    work = codec.node_ready.decode(of.work().value)
    (argument,) = work.arguments
    bad = [
        replace(work, attempt=1, arguments=(replace(argument, payload=broken),)),
        replace(work, attempt=2, details=broken),
        replace(work, attempt=3, arguments=(), feed=Feed(0, 1)),
    ]
    record = of.work()
    await (await taken(of.worker, *(record._replace(value=codec.node_ready.encode(each)) for each in bad)))
    failures = {event.attempt: event.failure.code for event in of.done()}
    assert failures == {1: "invalid_input", 2: "invalid_input", 3: "internal"}
    await of.worker.close()
