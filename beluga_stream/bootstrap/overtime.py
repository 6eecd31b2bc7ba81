"""How long the end of a run elsewhere is waited for once its time is up: its engine ends it then, and undoes it."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from ..bounds import until, within
from ..errors import BelugaError, TimedOut

T = TypeVar("T")

_GOES_ON = ("running", "limited")
"""The statuses of a run that nobody has begun to end."""

LATE_SECONDS = 5.0
"""After so long the engine should have noticed that a run's time is up; and it has as long to say so."""


class Overtime:
    """Waits for what a run gives, while its engine goes on with it or ends it. Use it with `async with`.

    When the run's time is up the engine is asked once, by `status`, whether it ends the run. Then that is waited for,
    however long it takes. An engine that is away, or behind, is not.
    """

    def __init__(self, name: str, seconds: float, status: Callable[[], Awaitable[str]]) -> None:
        self._name = name
        self._seconds = seconds
        self._status = status
        self._is_late = False
        self._bound: asyncio.Timeout | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    async def wait(self, coming: Awaitable[T]) -> T:
        """What comes. Raises `TimedOut` when the run's time is up and nobody ends it."""
        loop = asyncio.get_running_loop()
        try:
            async with until(loop.time() if self._is_late else None) as bound:
                self._bound = bound
                return await coming
        except TimeoutError as error:
            if not self._is_late:
                raise
            raise TimedOut(
                f"{self._name!r} did not end within {self._seconds:g} s, and its engine does not say that it ends it: "
                f"it does so when it is there again",
                graph=self._name,
            ) from error
        finally:
            self._bound = None

    async def _watch(self) -> None:
        await asyncio.sleep(self._seconds + LATE_SECONDS)
        try:
            async with within(LATE_SECONDS):
                self._is_late = await self._status() in _GOES_ON
        except (BelugaError, TimeoutError):
            self._is_late = True
        if self._is_late and self._bound is not None:
            self._bound.reschedule(asyncio.get_running_loop().time())
