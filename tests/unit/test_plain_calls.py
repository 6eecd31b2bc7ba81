"""Plain functions that are stuck hold up no others, no store, and no loop that ends."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from beluga_stream.application.plain_calls import FUNCTIONS, PlainCalls

_PATIENCE_SECONDS = 10


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What stuck calls wait for; it opens after the test."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_function_is_called_in_a_thread_and_in_the_context_of_its_caller() -> None:
    name: ContextVar[str] = ContextVar("name")
    name.set("anna")
    found, thread = await FUNCTIONS.call(lambda more: (name.get() + more, threading.current_thread()), "!")
    assert found == "anna!"
    assert thread is not threading.current_thread()
    assert thread.daemon


async def test_calls_that_were_given_up_hold_up_no_others(gate: threading.Event) -> None:
    calls = PlainCalls(2)
    for _ in range(4):
        began = threading.Event()
        stuck = asyncio.create_task(calls.call(lambda began=began: (began.set(), gate.wait())))
        assert await FUNCTIONS.call(began.wait, _PATIENCE_SECONDS)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
    async with asyncio.timeout(_PATIENCE_SECONDS):
        assert await calls.call(lambda: "on") == "on"


def test_a_loop_ends_without_those_that_are_stuck_and_its_threads_end_with_it(gate: threading.Event) -> None:
    calls = PlainCalls(2)
    threads: list[threading.Thread] = []
    stuck = threading.Event()

    def work(*until: str) -> None:
        threads.append(threading.current_thread())
        if until:
            stuck.set()
            gate.wait()

    async def main() -> None:
        tasks = [asyncio.create_task(calls.call(work, "until it opens")) for _ in range(2)]
        tasks += [asyncio.create_task(calls.call(work)) for _ in range(3)]
        await FUNCTIONS.call(stuck.wait, _PATIENCE_SECONDS)
        for task in tasks[2:]:
            task.cancel()
        await asyncio.wait(tasks[2:])
        await asyncio.gather(FUNCTIONS.call(work), FUNCTIONS.call(work))

    asyncio.run(main())
    gate.set()
    gc.collect()
    assert len(threads) == 4
    for thread in threads:
        thread.join(_PATIENCE_SECONDS)
        assert not thread.is_alive()
