"""What a worker does before an attempt begins that another worker may have begun."""

import asyncio
from typing import Any

import pytest

from beluga_stream.application import codec
from beluga_stream.application.messages import BegunNotice, CancelNotice, Heartbeat
from beluga_stream.domain.events import (
    NodeStarted,
    NodeSucceeded,
)
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Record
from tests.unit.engines import RUN, TOPICS, WorkerBench, handler, program
from tests.unit.gates import Gate, bench, sweep, taken, tasks
from tests.unit.graphs import edges, node, plan


async def append_work(of: WorkerBench, *records: Record) -> list[Record]:
    """Put work into the log, as the coordinator does; returns it as read from there."""
    topic = TOPICS.node_ready("default")
    await of.log.append([Outgoing(topic, each.key, each.value, partition=0) for each in records])
    return list(of.log.records(topic, 0))


def beats(of: WorkerBench) -> list[tuple[int, bool]]:
    """Of which attempts the heartbeats are, and whether these had begun."""
    return [(each.attempt, each.begun) for each in of.done() if isinstance(each, Heartbeat)]


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
    gate.open.set()
    await of.worker.close()


@pytest.mark.parametrize("losses", [0, 1])
async def test_who_waits_under_a_lease_says_so_and_tells_of_its_beginning_before_it_runs(losses: int) -> None:
    gate, told_at_call = Gate(), []

    async def call(value: Any) -> Any:
        told_at_call.append(beats(of))
        return await gate(value)

    of = bench(call, slots=1, lease_after_ms=0, heartbeat_ms=1_000)
    batches = [await taken(of.worker, of.work(attempt=attempt, losses=losses)) for attempt in (1, 2)]
    await gate.began.wait()
    await sweep(of.worker)
    await asyncio.gather(*batches)
    of.clock.now += 1_000
    await sweep(of.worker)
    assert beats(of) == [(1, True), (2, False)]
    gate.open.set()
    await asyncio.wait(tasks(of.worker))
    assert told_at_call == [[], [(1, True), (2, False), (2, True)]]
    await of.worker.close()


async def test_an_attempt_that_another_has_begun_is_left_to_its_lease() -> None:
    async def never(value: Any) -> Any:
        raise AssertionError("its last worker died with it")

    of = bench(Gate(), drain_ms=1)
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
