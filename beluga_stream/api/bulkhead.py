"""`Bulkhead`: so many calls at a time in this process, so many that wait, and no more."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from ..bounds import within
from ..errors import ResourceExhausted
from .guard import guarded, marked, stop_if_given_up
from .ranges import check_duration, check_whole
from .retry import Seconds

F = TypeVar("F", bound=Callable[..., Any])


class Bulkhead:
    """A decorator of handlers: at most `max_concurrency` calls go on at a time in this process.

    Up to `queue_size` more wait for their turn, first come, first served, and at most `timeout` (seconds or timedelta,
    up to 24 hours; None: as long as it takes). A call beyond that raises `ResourceExhausted`, and nothing of it has
    run. Functions under one bulkhead share it, from threads and event loops alike. For a bound over all workers, or by
    a key of the run's input, use `Limit`.

    Raises `InvalidConfig` when a value is out of range.
    """

    def __init__(self, max_concurrency: int, *, queue_size: int = 0, timeout: Seconds | None = None) -> None:
        check_whole("Bulkhead", "max_concurrency", max_concurrency, 1)
        check_whole("Bulkhead", "queue_size", queue_size, 0)
        self._most = max_concurrency
        self._queue_size = queue_size
        self._timeout = None if timeout is None else check_duration("Bulkhead", "timeout", timeout)
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[Future[None]] = deque()

    def __call__(self, function: F, /) -> F:
        made = guarded(function, self, "Bulkhead")
        return marked(made, "Bulkhead", of_one_process=True, blocks=self._queue_size > 0)

    @property
    def running(self) -> int:
        """How many calls go on."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiting)

    @contextmanager
    def around(self) -> Iterator[None]:
        """One call, in its thread. Raises `ResourceExhausted`."""
        turn = self._come()
        if turn is not None:
            try:
                turn.result(self._timeout)
            except FutureTimeoutError as error:
                self._give_up(turn)
                raise self._exhausted() from error
            except BaseException:
                self._give_up(turn)
                raise
        try:
            if turn is not None:
                stop_if_given_up()
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def around_async(self) -> AsyncIterator[None]:
        """One call, in its event loop. Raises `ResourceExhausted`."""
        turn = self._come()
        if turn is not None:
            bound = within(self._timeout)
            try:
                async with bound:
                    await asyncio.wrap_future(turn)
            except BaseException as error:
                self._give_up(turn)
                if isinstance(error, TimeoutError) and bound.expired():
                    raise self._exhausted() from error
                raise
        try:
            yield
        finally:
            self._leave()

    def _come(self) -> "Future[None] | None":
        """A place at once (None), or the turn to wait for."""
        with self._lock:
            if self._running < self._most:
                self._running += 1
                return None
            if len(self._waiting) >= self._queue_size:
                raise self._exhausted()
            turn: Future[None] = Future()
            self._waiting.append(turn)
            return turn

    def _leave(self) -> None:
        """Give the place to the first that waits."""
        with self._lock:
            turn = self._next()
            if turn is None:
                self._running -= 1
        if turn is not None:
            turn.set_result(None)

    def _next(self) -> "Future[None] | None":
        while self._waiting:
            turn = self._waiting.popleft()
            if turn.set_running_or_notify_cancel():
                return turn
        return None

    def _give_up(self, turn: "Future[None]") -> None:
        """Wait no more; a place that came at this moment goes to the next."""
        with self._lock:
            given = not (turn.cancel() or turn.cancelled())
            if turn in self._waiting:
                self._waiting.remove(turn)
        if given:
            self._leave()

    def _exhausted(self) -> ResourceExhausted:
        waits = f" and {self._queue_size} wait" if self._queue_size else ""
        return ResourceExhausted(f"the bulkhead is full: {self._most} calls go on{waits}; try later")
