"""How long something may take at most.

`asyncio.timeout` is what is meant, and what it is from Python 3.11.3 on. Before, in a task that is being cancelled, it
raised `CancelledError` once the time was up: so whatever cleans up within a bound (ends a process, leaves a group) was
itself cut off, and did not get to what it does about a bound that is exceeded (gh-102780).
"""

import asyncio
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self


class _Timeout(asyncio.Timeout):  # type: ignore[misc]  # final for types only, and no other way is shorter
    async def __aenter__(self) -> Self:
        self._cancelled_before = cancels_so_far()
        await super().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        if self.expired() and isinstance(error, asyncio.CancelledError) and cancels_so_far() <= self._cancelled_before:
            raise TimeoutError from error


def cancels_so_far() -> int:
    """How often this task was told to stop, and has not taken that back: who compares notices a cancel that is lost."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


_IS_MENDED = sys.version_info >= (3, 11, 3)


def until(moment: float | None) -> asyncio.Timeout:
    """Raises `TimeoutError` out of its block at this moment of the loop's clock, in seconds; None: never."""
    return asyncio.Timeout(moment) if _IS_MENDED else _Timeout(moment)


def within(seconds: float | None) -> asyncio.Timeout:
    """Raises `TimeoutError` out of its block after so many seconds; None: never."""
    return until(None if seconds is None else asyncio.get_running_loop().time() + seconds)


class in_time:  # noqa: N801 - it reads as `within` does
    """Raises what `late` makes out of its block after so many seconds; None: never.

    A `TimeoutError` that something in the block raises by itself passes through as it is.
    """

    def __init__(self, seconds: float | None, late: Callable[[], Exception]) -> None:
        self._bound = within(seconds)
        self._late = late

    async def __aenter__(self) -> None:
        await self._bound.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._bound.__aexit__(kind, error, traceback)
        except TimeoutError as over:
            raise self._late() from over
        if isinstance(error, TimeoutError) and self._bound.expired():
            raise self._late() from error
