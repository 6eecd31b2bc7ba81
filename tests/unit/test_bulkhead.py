"""A bulkhead lets so many in at a time, holds a queue, and refuses the rest."""

import asyncio
import threading
from contextlib import suppress

import pytest

from beluga_stream import Bulkhead, Retry, chain, node
from beluga_stream.errors import (
    ResourceExhausted,
    RunFailed,
)
from tests.unit.guarded import virtually


async def test_a_full_bulkhead_refuses_with_resource_exhausted() -> None:
    go = asyncio.Event()
    bulkhead = Bulkhead(1, queue_size=1)

    @bulkhead
    async def held(number: int) -> int:
        await go.wait()
        return number

    calls = [asyncio.create_task(held(one)) for one in range(2)]
    while bulkhead.waiting == 0:  # noqa: ASYNC110 - until both have come
        await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted, match="1 calls go on and 1 wait"):
        await held(3)
    go.set()
    assert await asyncio.gather(*calls) == [0, 1]
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


async def test_a_full_bulkhead_fails_a_run_with_its_code() -> None:
    bulkhead = Bulkhead(1)
    going = asyncio.Event()
    go = asyncio.Event()

    @node(retry=Retry(1))
    @bulkhead
    async def held(number: int) -> int:
        going.set()
        await go.wait()
        return number

    runs = chain(held, name="held")
    first = asyncio.create_task(runs.invoke(1))
    await going.wait()
    with pytest.raises(RunFailed) as failed:
        await runs.invoke(2)
    assert (failed.value.reason, failed.value.retryable) == ("resource_exhausted", True)
    go.set()
    assert await first == 1


def test_who_waits_too_long_for_a_bulkhead_is_refused_and_leaves_no_gap() -> None:
    async def main() -> None:
        bulkhead = Bulkhead(1, queue_size=5, timeout=2)

        @bulkhead
        async def held(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        first = asyncio.create_task(held(3))
        while not bulkhead.running:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await held(1)
        assert await first == 3
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)

    async def cancelled() -> None:
        bulkhead = Bulkhead(1, queue_size=5)

        @bulkhead
        async def held(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        first = asyncio.create_task(held(1))
        while not bulkhead.running:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        waits = asyncio.create_task(held(1))
        while not bulkhead.waiting:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        waits.cancel()
        assert await first == 1
        with suppress(asyncio.CancelledError):
            await waits
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)
        assert await held(2) == 2

    for seed in range(20):
        virtually(main, seed)
        virtually(cancelled, seed)


def test_a_bulkhead_is_one_for_threads_and_event_loops() -> None:
    bulkhead = Bulkhead(1, queue_size=1)
    inside, go = threading.Event(), threading.Event()

    @bulkhead
    def blocks() -> str:
        inside.set()
        go.wait(10)
        return "thread"

    @bulkhead
    async def awaits() -> str:
        return "loop"

    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(blocks()))
    thread.start()
    assert inside.wait(10)

    async def main() -> str:
        waiting = asyncio.create_task(awaits())
        while not bulkhead.waiting:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            blocks()
        go.set()
        return await waiting

    assert asyncio.run(main()) == "loop"
    thread.join(10)
    assert told == ["thread"]
