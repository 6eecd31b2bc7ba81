"""Plain functions of every kind for guards to be put around, and time for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from beluga_stream.testing.virtual_time import VirtualLoop


class Time:
    """Seconds that a test moves on by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def virtually(main: Callable[[], Any], seed: int = 0) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main())


async def double(number: int) -> int:
    """Twice."""
    return 2 * number


async def count(number: int) -> AsyncIterator[int]:
    for one in range(number):
        yield one


def square(number: int) -> int:
    return number * number


def steps(number: int) -> Iterator[int]:
    yield from range(number)
