"""Handlers in processes of their own: what they give and raise, and what happens when they die or never end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from beluga_stream.adapters.processes.pool import Processes
from beluga_stream.application.execution.context import Context
from beluga_stream.application.execution.execution import _in_context
from beluga_stream.errors import ExecutionFailed, NotSerializable, ProcessLost
from tests.unit import process_calls as calls


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    made = Processes(1, calls.nothing)
    yield made
    await made.close()


async def test_a_process_is_kept_and_knows_whose_call_it_runs(processes: Processes) -> None:
    first, second = await processes.call(calls.pid), await processes.call(calls.pid)
    assert first == second != psutil.Process().pid
    facts = Context(run_id="r1", node="n", attempt=3)
    assert await processes.call(partial(_in_context, facts, calls.who, ())) == ("r1", "n", 3)


async def test_what_it_raises_is_raised_here(processes: Processes) -> None:
    with pytest.raises(ValueError, match="from the child"):
        await processes.call(calls.raise_value_error)
    with pytest.raises(ExecutionFailed, match=r"raised Awkward: hard to move \(unit/process_calls.py, line") as failed:
        await processes.call(calls.raise_awkward)
    assert failed.value.retryable


async def test_what_cannot_leave_its_process_is_said_so(processes: Processes) -> None:
    with pytest.raises(NotSerializable, match="returned what cannot leave its process"):
        await processes.call(calls.give_function)
    with pytest.raises(NotSerializable, match="arguments cannot go to another process"):
        await processes.call(lambda: 1)


async def test_a_process_that_dies_is_replaced(processes: Processes) -> None:
    with pytest.raises(ProcessLost, match="ended in the midst of the call") as lost:
        await processes.call(calls.die)
    assert lost.value.retryable
    assert await processes.call(calls.pid) > 0


@pytest.mark.parametrize("function", [calls.never_end, calls.never_end_deafly])
async def test_a_call_that_is_given_up_is_ended_with_its_process(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[[str], None]
) -> None:
    if function is calls.never_end_deafly:
        monkeypatch.setattr("beluga_stream.adapters.processes.pool._STOP_SECONDS", 0.1)
    began = tmp_path / "began"
    call = asyncio.create_task(processes.call(partial(function, str(began))))
    async with asyncio.timeout(30):
        while not began.exists() or not began.read_text():  # noqa: ASYNC110 - another process tells by a file
            await asyncio.sleep(0.01)
    child = psutil.Process(int(began.read_text()))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(child.wait, 10)
    assert await processes.call(calls.pid) != child.pid


async def test_what_ends_the_whole_group_is_left_to_the_worker(processes: Processes) -> None:
    pid = await processes.call(calls.pid)
    psutil.Process(pid).terminate()
    assert await processes.call(calls.pid) == pid
