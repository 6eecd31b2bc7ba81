"""Threads for handlers that block: what is given up costs nobody else a place, within a bound."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest

from beluga_stream.application.execution.threads import Threads
from beluga_stream.errors import ResourceExhausted


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What stuck calls wait for; it opens after the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(2, lost_at_most=2)
    yield made
    await made.close()


async def _give_up(threads: Threads, gate: threading.Event) -> None:
    began = threading.Event()

    def stuck() -> None:
        began.set()
        gate.wait()

    call = asyncio.create_task(threads.call(stuck))
    await asyncio.to_thread(began.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_call_gives_what_the_function_gives(threads: Threads) -> None:
    assert await asyncio.gather(*(threads.call(lambda number=number: number * 2) for number in range(9))) == [
        0, 2, 4, 6, 8, 10, 12, 14, 16,
    ]  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        await threads.call(lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.call(lambda: next(iter([])))


async def test_a_call_that_interrupts_the_process_fails_alone(threads: Threads) -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="the handler raised KeyboardInterrupt"):
        await threads.call(interrupts)


async def test_a_call_that_raises_the_end_of_a_stream_fails(threads: Threads) -> None:
    def ends() -> None:
        raise StopAsyncIteration

    with pytest.raises(RuntimeError, match="the handler raised StopAsyncIteration"):
        await threads.call(ends)


async def test_a_thread_that_does_not_come_back_is_replaced(threads: Threads, gate: threading.Event) -> None:
    await _give_up(threads, gate)
    await _give_up(threads, gate)
    assert threads.lost == 2
    assert await asyncio.gather(*(threads.call(lambda: "on") for _ in range(4))) == ["on"] * 4


async def test_at_the_bound_calls_are_refused_and_taken_again_when_threads_come_back(
    threads: Threads, gate: threading.Event
) -> None:
    for _ in range(3):
        await _give_up(threads, gate)
    waiting_behind = asyncio.create_task(_give_up(threads, gate))
    await waiting_behind
    with pytest.raises(ResourceExhausted, match="all 4 threads of this worker"):
        await threads.call(lambda: "too late")
    gate.set()
    async with asyncio.timeout(10):
        while threads.lost:  # noqa: ASYNC110 - the threads tell nobody but the pool
            await asyncio.sleep(0.01)
    assert await asyncio.gather(*(threads.call(lambda: "again") for _ in range(4))) == ["again"] * 4


async def test_who_waits_for_a_place_hears_that_none_will_come(threads: Threads, gate: threading.Event) -> None:
    for _ in range(3):
        await _give_up(threads, gate)
    began = threading.Event()
    last = asyncio.create_task(threads.call(lambda: (began.set(), gate.wait())))
    await asyncio.to_thread(began.wait, 10)
    waiting = asyncio.create_task(threads.call(lambda: "never"))
    await asyncio.sleep(0)
    last.cancel()
    with pytest.raises(ResourceExhausted):
        await waiting


@pytest.mark.parametrize("comes", ["after its call was given up", "as it is given up"])
async def test_a_coroutine_that_nobody_waits_for_is_closed(gate: threading.Event, comes: str) -> None:
    async def never_awaited() -> None:
        raise AssertionError

    made: list[Coroutine[Any, Any, None]] = []
    began, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Watched(Threads):
        def _ended(self, *of_call: Any) -> None:
            super()._ended(*of_call)
            call.cancel()
            ended.set()

    def function() -> Coroutine[Any, Any, None]:
        made.append(never_awaited())
        loop.call_soon_threadsafe(began.set)
        gate.wait()
        return made[0]

    threads = Watched(1)
    call = asyncio.create_task(threads.call(function))
    await asyncio.wait_for(began.wait(), 10)
    if comes == "after its call was given up":
        call.cancel()
        await asyncio.wait({call}, timeout=10)
    gate.set()
    await asyncio.wait_for(ended.wait(), 10)
    await asyncio.wait({call}, timeout=10)
    assert call.cancelled()
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED
    await threads.close()
