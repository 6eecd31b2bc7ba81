"""Workers of a graph that runs here, and the tally of an orchestrator's runs."""

import asyncio

import pytest

from beluga_stream.application.in_process.tally import Tally
from beluga_stream.application.local.workers import Workers
from beluga_stream.errors import ResourceExhausted


async def settled() -> None:
    """Every task has got as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def hold(workers: Workers, go_on: asyncio.Event) -> None:
    admission = workers.admit()
    async with admission.place():
        await go_on.wait()
    admission.close()


async def test_runs_that_have_not_begun_count_as_waiting() -> None:
    workers = Workers("g", 2, 1)
    admitted = [workers.admit() for _ in range(3)]
    with pytest.raises(ResourceExhausted, match=r"max_workers=2 .* 3 wait, with queue_size=1"):
        workers.admit()
    admitted[0].close()
    admitted[0].close()
    workers.admit()
    with pytest.raises(ResourceExhausted):
        workers.admit()


async def test_whoever_leaves_the_queue_leaves_a_place_in_it() -> None:
    workers, go_on = Workers("g", 1, 1), asyncio.Event()
    working = asyncio.create_task(hold(workers, go_on))
    await settled()
    waiting = asyncio.create_task(hold(workers, go_on))
    await settled()
    assert workers.busy == 1
    with pytest.raises(ResourceExhausted):
        workers.admit()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    next_one = asyncio.create_task(hold(workers, go_on))
    go_on.set()
    await asyncio.gather(working, next_one)
    assert workers.busy == 0
    workers.admit().close()


async def test_a_worker_that_is_cancelled_at_work_is_free_again() -> None:
    workers, never = Workers("g", 1, 0), asyncio.Event()
    for _ in range(3):
        working = asyncio.create_task(hold(workers, never))
        await settled()
        assert workers.busy == 1
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working


def test_percentiles_are_by_nearest_rank() -> None:
    tally = Tally()
    assert tally.snapshot().p95_seconds == 0
    for seconds in range(100, 0, -1):
        tally.started()
        tally.ended(success=seconds != 7, seconds=seconds)
    found = tally.snapshot()
    assert (found.executions, found.errors, found.active) == (100, 1, 0)
    assert (found.p50_seconds, found.p95_seconds, found.mean_seconds) == (50, 95, 50.5)
