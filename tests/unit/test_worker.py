import asyncio
import contextlib
from typing import Any

import pytest

from beluga_stream.application import codec
from beluga_stream.application.context import context
from beluga_stream.application.messages import BegunNotice, CancelNotice, ChunkEmitted, Heartbeat
from beluga_stream.application.worker import Worker, WorkerOptions
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import (
    NodeFailed,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
)
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Record
from tests.unit.engines import RUN, TOPICS, WorkerBench, handler, program
from tests.unit.graphs import edges, node, plan


def bench(call: Any, *, streams: bool = False, **options: Any) -> WorkerBench:
    kind = NodeKind.STREAM if streams else NodeKind.TASK
    of = plan([node("a", kind)], edges("input > a"), ["a"])
    return WorkerBench(program(of, {"a": handler(call, streams=streams)}), WorkerOptions(**options))


async def taken(worker: Worker, *records: Record) -> "asyncio.Future[None]":
    """Hand a batch over; the future is done when it may be acknowledged."""
    later = await worker.handle(records)
    assert later is not None
    return asyncio.ensure_future(later)


async def sweep(worker: Worker) -> None:
    await worker._keep_all(worker._clock.now_ms())


def tasks(worker: Worker) -> list["asyncio.Task[None]"]:
    """What runs now."""
    return [each.task for each in worker._running.values() if each.task is not None]


async def leased(of: WorkerBench, gate: "Gate") -> "asyncio.Future[None]":
    """A batch of one node that runs and is held by a lease."""
    acknowledged = await taken(of.worker, of.work())
    await gate.began.wait()
    await sweep(of.worker)
    return acknowledged


class Gate:
    """A handler that runs until the test lets it end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.stopped = False
        self.calls = 0

    async def __call__(self, value: Any) -> Any:
        self.calls += 1
        self.began.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return value


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


async def test_missing_code_parks_the_node() -> None:
    of = bench(Gate())
    await (await taken(of.worker, of.work(definition="another")))
    assert isinstance(of.done()[0], NodeParked)
    await of.worker.close()


@pytest.mark.parametrize(
    ("error", "retryable"),
    [(ValueError("no"), True), (TypeError("no"), False), (SystemExit(3), False)],
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
    await (await taken(of.worker, of.work()))
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


async def test_a_drain_leaves_unacknowledged_what_does_not_end_in_time() -> None:
    gate = Gate()
    of = bench(gate, drain_ms=1)
    acknowledged = await taken(of.worker, of.work())
    await gate.began.wait()
    await of.worker.close()
    assert gate.stopped
    assert not acknowledged.done()
    acknowledged.cancel()


async def test_partitions_are_given_up_at_once_what_runs_is_leased_and_the_rest_goes_back() -> None:
    gate = Gate()
    of = bench(gate, slots=1)
    running = await taken(of.worker, of.work(value=1))
    await gate.began.wait()
    waiting = await taken(of.worker, of.work(attempt=2))
    await of.worker.release(frozenset({0}))
    await asyncio.gather(running, waiting)
    assert [type(event) for event in of.done()] == [NodeStarted]
    (again,) = of.log.records(TOPICS.node_ready("default"), 0)
    assert codec.node_ready.decode(again.value) == codec.node_ready.decode(of.work(attempt=2).value)
    assert gate.calls == 1
    gate.open.set()
    await of.worker.close()
    assert [type(event) for event in of.done()] == [NodeStarted, NodeSucceeded]


async def test_a_worker_that_stops_gives_back_what_it_cannot_finish_with_what_was_told() -> None:
    told, never = asyncio.Event(), asyncio.Event()

    async def slowly(value: Any) -> Any:
        await context().heartbeat({"at": value})
        told.set()
        await never.wait()

    of = bench(slowly, drain_ms=1)
    acknowledged = await taken(of.worker, of.work(value=5))
    await told.wait()
    await of.worker.release(frozenset({0}))
    await acknowledged
    await of.worker.close()
    _, started, released = of.done()
    assert isinstance(released, NodeReleased)
    assert released.incarnation == started.incarnation
    assert released.details == Inline({"at": 5})


async def test_what_has_no_slot_yet_goes_back_before_the_rest_is_waited_for() -> None:
    gate = Gate()
    of = bench(gate, slots=1, lease_after_ms=0)
    batches = [await taken(of.worker, of.work(attempt=attempt)) for attempt in (1, 2)]
    await gate.began.wait()
    await sweep(of.worker)
    await asyncio.gather(*batches)
    closing = asyncio.create_task(of.worker.close())
    await of.log.wait({(TOPICS.node_done, 0): 2})
    assert isinstance(of.done()[-1], NodeReleased)
    gate.open.set()
    await closing
    assert gate.calls == 1
    assert [(type(event), event.attempt) for event in of.done()[2:]] == [(NodeReleased, 2), (NodeSucceeded, 1)]


async def test_a_log_that_fails_keeps_no_worker_from_stopping() -> None:
    gate = Gate()
    of = bench(gate, drain_ms=1, lease_after_ms=0)
    await (await leased(of, gate))

    async def refuse(records: Any) -> Any:
        raise LogUnavailable("gone")

    of.log.append = refuse  # type: ignore[method-assign]
    await of.worker.close()
    assert gate.stopped


async def test_an_outcome_that_cannot_be_sent_ends_the_process_even_under_a_lease() -> None:
    gate = Gate()
    of = bench(gate, lease_after_ms=0, sweep_ms=0)
    await taken(of.worker, of.work())
    await gate.began.wait()
    await sweep(of.worker)

    async def refuse(records: Any) -> Any:
        raise LogUnavailable("gone")

    of.log.append = refuse  # type: ignore[method-assign]
    gate.open.set()
    await asyncio.wait(tasks(of.worker))

    async def at_once(seconds: float) -> None:
        return None

    of.clock.sleep = at_once  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable):
        await of.worker._sweep()


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


async def append_work(of: WorkerBench, *records: Record) -> list[Record]:
    """Put work into the log, as the coordinator does; returns it as read from there."""
    topic = TOPICS.node_ready("default")
    await of.log.append([Outgoing(topic, each.key, each.value, partition=0) for each in records])
    return list(of.log.records(topic, 0))


def begun_notices(of: WorkerBench) -> list[str]:
    records = [codec.control.decode(each.value) for each in of.log.records(TOPICS.control, 0)]
    return [each.attempt for each in records if isinstance(each, BegunNotice)]


async def test_what_another_may_have_begun_is_held_by_a_lease_before_it_runs() -> None:
    gate = Gate()
    of = bench(gate, fuse_ms=10_000)
    (record,) = await append_work(of, of.work())
    await of.worker.acquire(frozenset({0}))
    await (await taken(of.worker, record))
    await gate.began.wait()
    assert [type(event) for event in of.done()] == [NodeStarted]
    assert begun_notices(of) == ["a/1"]
    gate.open.set()
    await of.worker.close()
    assert [type(event) for event in of.done()] == [NodeStarted, NodeSucceeded]


async def test_what_comes_after_the_partition_was_taken_over_is_not() -> None:
    of = bench(Gate())
    await of.worker.acquire(frozenset({0}))
    (record,) = await append_work(of, of.work())
    acknowledged = await taken(of.worker, record)
    await sweep(of.worker)
    assert of.done() == []
    acknowledged.cancel()
    await of.worker.close()


async def test_an_attempt_after_a_loss_is_held_by_a_lease_before_it_runs() -> None:
    gate = Gate()
    of = bench(gate)
    await (await taken(of.worker, of.work(attempt=2, losses=1)))
    await gate.began.wait()
    assert [type(event) for event in of.done()] == [NodeStarted]
    await of.worker.close()


async def test_an_attempt_that_another_has_begun_is_left_to_its_lease() -> None:
    async def never(value: Any) -> Any:
        raise AssertionError("its last worker died with it")

    of = bench(Gate())
    (record,) = await append_work(of, of.work())
    await of.worker.acquire(frozenset({0}))
    await (await taken(of.worker, record))
    # The worker dies before its driver has committed anything, and another takes the partition over.
    survivor = WorkerBench(program(plan([node("a")], edges("input > a"), ["a"]), {"a": handler(never)}), log=of.log)
    await survivor.worker.acquire(frozenset({0}))
    await (await taken(survivor.worker, record))
    assert [type(event) for event in of.done()] == [NodeStarted]
    await survivor.worker.close()
    await of.worker.close()


async def test_nobody_is_told_of_an_attempt_whose_lease_is_not_durable() -> None:
    of = bench(Gate())
    append = of.log.append

    async def refuse_starts(records: Any) -> Any:
        if any(each.topic == TOPICS.node_done for each in records):
            raise LogUnavailable("gone")
        return await append(records)

    of.log.append = refuse_starts  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable):
        await (await taken(of.worker, of.work(losses=1)))
    assert begun_notices(of) == []


async def test_control_is_read_from_its_beginning_and_again_after_a_release() -> None:
    async def never(value: Any) -> Any:
        raise AssertionError("it is cancelled")

    async def cancel(*attempts: str) -> None:
        notices = [CancelNotice(run=RUN, generation=0, attempts=(each,)) for each in attempts]
        await of.log.append(
            [Outgoing(TOPICS.control, None, codec.control.encode(each), partition=0) for each in notices]
        )

    of = bench(never)
    await cancel("a/1", *(f"other/{number}" for number in range(2_000)))
    await of.worker.acquire(frozenset({0}))
    await (await taken(of.worker, of.work()))
    await of.worker.release(frozenset({0}))
    await cancel("a/2")
    await of.worker.acquire(frozenset({0}))
    await (await taken(of.worker, of.work(), of.work(attempt=2)))
    assert of.done() == []
    await of.worker.close()


@pytest.mark.parametrize(("bound", "most"), [("_MOST", 1), ("_MOST_BYTES", 400)])
async def test_a_redelivery_whose_outcome_is_forgotten_runs_again(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(f"beluga_stream.application.reported.{bound}", most)
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
