"""An event loop whose time is virtual and whose order is a seed's: nothing waits, and everything repeats.

When nothing is ready, time jumps to the next timer. What is ready at the same time runs in an order
that the seed decides, since no program may depend on it.
"""

# ruff: noqa: SLF001 - asyncio has no public way to own the order of callbacks; tests run on each Python we support

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH_MS = 1_700_000_000_000
_TOGETHER = 1e-9
"""Timers that are due within so many seconds are due at once."""


class Standstill(RuntimeError):
    """Nothing is ready and no timer is set: what still waits would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Threads are not used: what is meant for one runs in the loop, at once."""

    def __init__(self, seed: int, *, shuffle: bool = True) -> None:
        super().__init__()
        self._order = random.Random(seed)  # noqa: S311 - a reproducible order, and no secret
        self._shuffle = shuffle
        self._virtual = 0.0
        self._timers: list[tuple[float, int, Any]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self._virtual

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future

    def _write_to_self(self) -> None:
        """Nobody looks at the system's events."""

    # What is asked for here costs what the base class's checks cost, and a simulation does it ten thousand times.
    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._virtual + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when it is due."""

    def _run_once(self) -> None:
        """One turn, as the base class has it, but that nothing outside of the process is looked at.

        That is half of what a turn costs, and a simulation is made of turns.
        """
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready:
            self._jump()
        until = self._virtual + _TOGETHER
        while timers and timers[0][0] < until:
            due = heapq.heappop(timers)[2]
            if not due._cancelled:
                ready.append(due)
        if self._shuffle and len(ready) > 1:
            handles = list(ready)
            self._order.shuffle(handles)
            ready.clear()
            ready.extend(handles)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _jump(self) -> None:
        """Let the next timer be due now."""
        if not self._timers:
            if self._stopping:  # type: ignore[attr-defined]
                return
            raise Standstill("nothing is ready and no timer is set: what still waits would wait for ever")
        self._virtual = max(self._virtual, self._timers[0][0])


class VirtualClock:
    """The port `Clock` on the time of the running loop."""

    def now_ms(self) -> int:
        return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtually(main: Coroutine[Any, Any, T], seed: int) -> T:
    """Run to the end in virtual time, on a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main)
