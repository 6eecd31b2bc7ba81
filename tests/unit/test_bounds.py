"""A bound holds in a task that is being cancelled, too, where each Python before 3.11.3 has another idea of it."""

import asyncio
from collections.abc import Callable

import pytest

from beluga_stream.bounds import _Timeout, in_time, within
from beluga_stream.errors import TimedOut

Within = Callable[[float | None], asyncio.Timeout]


def _stand_in(seconds: float | None) -> asyncio.Timeout:
    """What stands in for asyncio's own where that is wrong, on whatever Python this is."""
    return _Timeout(None if seconds is None else asyncio.get_running_loop().time() + seconds)


both = pytest.mark.parametrize("bounded", [within, _stand_in])


async def _never() -> None:
    await asyncio.Event().wait()


@both
async def test_what_takes_too_long_is_a_timeout(bounded: Within) -> None:
    with pytest.raises(TimeoutError):
        async with bounded(0.001):
            await _never()
    async with bounded(60), bounded(None):
        pass


@both
async def test_cleaning_up_within_a_bound_gets_to_its_end(bounded: Within) -> None:
    done: list[str] = []

    async def cleans_up() -> None:
        try:
            done.append("began")
            await _never()
        finally:
            try:
                async with bounded(0.001):
                    await _never()
            except TimeoutError:
                done.append("too long")

    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["began", "too long"]


@both
async def test_a_cancel_within_it_is_no_timeout(bounded: Within) -> None:
    began = asyncio.Event()

    async def waits() -> None:
        async with bounded(60):
            began.set()
            await _never()

    task = asyncio.create_task(waits())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@both
async def test_an_error_within_it_stays_that(bounded: Within) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with bounded(60):
            raise ValueError("mine")


def _late() -> TimedOut:
    return TimedOut("too long")


async def test_what_takes_too_long_is_what_the_bound_says() -> None:
    with pytest.raises(TimedOut, match="too long"):
        async with in_time(0.001, _late):
            await _never()
    async with in_time(None, _late), in_time(60, _late):
        pass


async def test_a_timeout_that_is_raised_within_it_is_no_end_of_the_bound() -> None:
    with pytest.raises(TimeoutError, match="of its own"):
        async with in_time(60, _late):
            raise TimeoutError("of its own")


async def test_what_answers_the_end_of_the_bound_by_a_timeout_is_too_late_all_the_same() -> None:
    async def gives_up() -> None:
        try:
            await _never()
        except asyncio.CancelledError:
            raise TimeoutError("of its own") from None

    with pytest.raises(TimedOut, match="too long"):
        async with in_time(0.001, _late):
            await gives_up()
