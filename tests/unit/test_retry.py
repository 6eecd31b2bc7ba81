"""`Retry` around any function."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from beluga_stream import Retry, chain, context
from beluga_stream.errors import (
    InvalidConfig,
    InvalidInput,
    MaxRetriesExceeded,
)
from tests.unit.guarded import virtually


def test_a_retried_function_is_tried_again_until_its_attempts_are_used_up() -> None:
    async def main() -> None:
        calls: list[int] = []

        @Retry(3, first=1)
        async def fails_until(number: int) -> int:
            calls.append(number)
            if len(calls) < number:
                raise OSError("not yet")
            return number

        began = asyncio.get_running_loop().time()
        assert await fails_until(3) == 3
        assert 1.5 <= asyncio.get_running_loop().time() - began <= 3
        calls.clear()
        with pytest.raises(MaxRetriesExceeded, match="fails_until failed 3 times, the last time with OSError: not yet"):
            await fails_until(9)
        assert len(calls) == 3

    virtually(main)


def test_a_retry_leaves_alone_what_it_cannot_mend() -> None:
    calls: list[int] = []

    @Retry(3, first=0)
    def wrong(number: int) -> int:
        calls.append(number)
        raise InvalidInput("no number")

    with pytest.raises(InvalidInput):
        wrong(1)
    assert calls == [1]


async def test_a_function_in_a_thread_is_not_tried_again_once_its_node_is_given_up() -> None:
    began, go_on = threading.Event(), threading.Event()
    calls: list[bool] = []

    @Retry(3, first=0.001)
    def fails(number: int) -> int:
        calls.append(context().cancelled)
        began.set()
        assert go_on.wait(10)
        ended.append(threading.current_thread())
        raise OSError("gone")

    ended: list[threading.Thread] = []
    task = asyncio.create_task(chain(fails).invoke(1))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.wait({task})
    go_on.set()
    async with asyncio.timeout(10):
        while not ended:  # noqa: ASYNC110 - a thread tells no event of the loop
            await asyncio.sleep(0)
    await asyncio.to_thread(ended[0].join, 10)  # the threads of a run end with it
    assert calls == [False]


async def test_a_retried_stream_begins_again_only_before_its_first_chunk() -> None:
    calls: list[int] = []

    @Retry(3, first=0)
    async def chunks(good: int) -> AsyncIterator[int]:
        calls.append(good)
        if len(calls) < 2:
            raise OSError("not yet")
        for one in range(good):
            yield one
        raise OSError("broken")

    stream = chunks(2)
    assert [await anext(stream), await anext(stream), len(calls)] == [0, 1, 2]
    with pytest.raises(OSError, match="broken"):
        await anext(stream)
    assert len(calls) == 2


def test_one_exception_class_is_as_good_as_several() -> None:
    assert Retry(2, on=OSError) == Retry(2, on=(OSError,)) == Retry(2, on=[OSError])
    assert Retry(2, on=OSError).policy().on == Retry(2, on=(OSError,)).policy().on
    calls: list[int] = []

    @Retry(2, on=OSError, first=0)
    def fails(number: int) -> int:
        calls.append(number)
        raise ConnectionError("gone")

    with pytest.raises(MaxRetriesExceeded):
        fails(1)
    assert len(calls) == 2


@pytest.mark.parametrize("on", [int, "OSError", (OSError, 3), KeyboardInterrupt])
def test_what_is_no_exception_class_is_refused(on: Any) -> None:
    with pytest.raises(InvalidConfig, match="is no exception class"):
        Retry(2, on=on)
