"""`RateLimit`: so many calls in a period, in this process."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from heapq import heappop, heappush
from typing import Any, TypeVar

from ..domain.pace import Pace, take
from ..errors import RateLimitExceeded
from .guard import guarded, marked, stop_if_given_up
from .ranges import MONTH_SECONDS, check_duration, check_whole
from .retry import Seconds

F = TypeVar("F", bound=Callable[..., Any])


class RateLimit:
    """A decorator of handlers: `rate` calls in each period `per`, over time, and a burst, in this process.

    After a time without calls up to `burst` (default: `rate`) may come at once, then one each `per / rate`: so up to
    `rate + burst - 1` in the period that begins so, and with `burst=1` at most `rate` in any. A call that would have to
    wait for longer than `wait` (default: 0) raises `RateLimitExceeded`, and nothing of it has run. `per` and `wait`
    are seconds or a timedelta, up to 30 days. Functions under one limit share it. For a rate over all workers, or by a
    key of the run's input, use `Limit`. `now` gives seconds of a clock that never goes back.

    Raises `InvalidConfig` when a value is out of range.
    """

    def __init__(
        self,
        rate: int,
        *,
        per: Seconds = 1,
        burst: int | None = None,
        wait: Seconds = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        burst = rate if burst is None else burst
        check_whole("RateLimit", "rate", rate, 1)
        check_whole("RateLimit", "burst", burst, 1)
        self._rate = rate
        self._per = check_duration("RateLimit", "per", per, most_seconds=MONTH_SECONDS)
        self._pace = Pace(self._per / rate, burst)
        self._wait = check_duration("RateLimit", "wait", wait, most_seconds=MONTH_SECONDS, may_be_zero=True)
        self._now = now
        self._lock = threading.Lock()
        self._due = float("-inf")
        self._left: list[float] = []  # a heap of moments that calls have waited for, and will not use

    def __call__(self, function: F, /) -> F:
        made = guarded(function, self, "RateLimit")
        return marked(made, "RateLimit", of_one_process=True, blocks=self._wait > 0)

    @contextmanager
    def around(self) -> Iterator[None]:
        """One call, in its thread. Raises `RateLimitExceeded`."""
        pause = self._take() - self._now()
        if pause > 0:
            time.sleep(pause)
            stop_if_given_up()
        yield

    @asynccontextmanager
    async def around_async(self) -> AsyncIterator[None]:
        """One call, in its event loop. Raises `RateLimitExceeded`."""
        moment = self._take()
        pause = moment - self._now()
        if pause > 0:
            try:
                await asyncio.sleep(pause)
            except BaseException:
                self._give_back(moment)
                raise
        yield

    def _take(self) -> float:
        """When this call may go on, by the limit's clock."""
        with self._lock:
            now = self._now()
            due, pause = take(self._due, self._pace, now)
            while self._left and self._left[0] < now:
                heappop(self._left)
            if self._left and self._left[0] - now <= min(pause, self._wait):
                return heappop(self._left)
            if pause <= self._wait:
                self._due = due
                return now + pause
        raise RateLimitExceeded(
            f"calls come faster than {self._rate} in {self._per:g} s: the next may come in {pause:.2g} s; try later"
        )

    def _give_back(self, moment: float) -> None:
        """Who has waited is gone: the next that comes may have its moment, unless that is over by then."""
        with self._lock:
            heappush(self._left, moment)
