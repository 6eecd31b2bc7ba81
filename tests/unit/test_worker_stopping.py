"""A worker that loses partitions or stops: what runs goes on under a lease, and the rest goes back."""

import asyncio
from typing import Any

import pytest

from beluga_stream.application import codec
from beluga_stream.application.execution.context import context
from beluga_stream.application.messages import CancelNotice
from beluga_stream.domain.events import (
    NodeReleased,
    NodeStarted,
    NodeSucceeded,
)
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Record
from tests.unit.engines import RUN, TOPICS
from tests.unit.gates import Gate, bench, leased, sweep, taken, tasks


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


async def test_what_waits_under_a_lease_goes_back_too_when_partitions_are_given_up() -> None:
    """Whoever comes to help would find nothing to do, if who has all of it kept what it has not begun."""
    gate = Gate()
    of = bench(gate, slots=1, lease_after_ms=0)
    batches = [await taken(of.worker, of.work(attempt=attempt)) for attempt in (1, 2)]
    await gate.began.wait()
    await sweep(of.worker)
    await asyncio.gather(*batches)
    await of.worker.release(frozenset({0}))
    assert [(type(event), event.attempt) for event in of.done()] == [
        (NodeStarted, 1),
        (NodeStarted, 2),
        (NodeReleased, 2),
    ]
    gate.open.set()
    await of.worker.close()
    assert (gate.calls, type(of.done()[-1])) == (1, NodeSucceeded)


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


async def test_what_cleans_up_by_a_notice_goes_on_with_that_while_the_worker_stops() -> None:
    began, cleaning, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def tidy(value: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.05)
            cleaned.set()

    of = bench(tidy, drain_ms=1)
    running = await taken(of.worker, of.work())
    await began.wait()
    notice = CancelNotice(run=RUN, generation=1)
    of.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
    await cleaning.wait()
    await of.worker.close()
    assert cleaned.is_set()
    running.cancel()


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
