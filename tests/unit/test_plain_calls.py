"""Plain functions that are stuck hold up no others, no store, and no loop that ends."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest

from beluga_stream import CircuitBreaker, KeyValueMemory, SharedCircuits, SQLiteStore, SQLiteVectors
from beluga_stream.application.execution.plain_calls import FUNCTIONS, PlainCalls

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


async def test_functions_of_users_that_are_stuck_hold_up_neither_stores_nor_functions_elsewhere(
    gate: threading.Event, tmp_path: Path
) -> None:
    """The executor of the loop has one thread here, and somebody has it."""
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    elsewhere = asyncio.create_task(asyncio.to_thread(gate.wait))
    stuck = [asyncio.create_task(FUNCTIONS.call(gate.wait)) for _ in range(32)]
    breaker = CircuitBreaker("x", failures=1, store=SharedCircuits(tmp_path / "circuits.db"))

    @breaker
    async def call() -> str:
        return "called"

    async with asyncio.timeout(_PATIENCE_SECONDS):
        store, vectors = SQLiteStore(tmp_path / "turns.db"), SQLiteVectors(tmp_path / "vectors.db")
        assert await store.append("anna", "1", b"x")
        assert await vectors.add("anna", "1", [1.0], b"x")
        assert await call() == "called"
    for task in stuck:
        task.cancel()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await KeyValueMemory(lambda inputs, outputs: {"x": 1}).save_context({"a": 1}, {})
    gate.set()
    await elsewhere
    executor.shutdown()
    await asyncio.wait(stuck)
