"""An event loop whose time is virtual and whose order is a seed's: nothing waits, and everything repeats.

When nothing is ready, time jumps to the next timer. What is ready at the same time runs in an order
that the seed decides, since no program may depend on it.
"""

# ruff: noqa: SLF001 - asyncio has no public way to own the order of callbacks; tests run on each Python we support

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from ..application.execution.plain_calls import FUNCTIONS, STORES
from ..application.execution.threads import Threads, WorkerThread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH_MS = 1_700_000_000_000
_TOGETHER = 1e-9
"""Timers that are due within so many seconds are due at once."""


class Standstill(RuntimeError):
    """Nothing is ready and no timer is set: what still waits would wait for ever."""


class _Turn(asyncio.TimerHandle):
    """A callback that waits for its turn: of what the base class holds, only what a turn is made of."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<turn of {self._callback!r}>"

    def cancel(self) -> None:
        """It is dropped when it is due."""
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class _Here(WorkerThread):
    """Does in the loop, at once, what is meant for a thread."""

    def give(self, step: Callable[[], None] | None) -> None:
        if step is not None:
            step()


class _NoThreads(Threads):
    def _new(self) -> WorkerThread:
        return _Here()


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Threads are not used: what is meant for one runs in the loop, at once."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed).random  # noqa: S311 - a reproducible order, and no secret
        self._virtual = 0.0
        self._timers: list[tuple[float, int, _Turn | Pause]] = []
        self._numbers = itertools.count()
        for calls in (FUNCTIONS, STORES):
            calls.give(self, _NoThreads())

    def time(self) -> float:
        return self._virtual

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future

    get_debug = staticmethod(bool)
    """No, and no call of Python: each future asks."""

    def _write_to_self(self) -> None:
        """Nobody looks at the system's events."""

    # What is asked for here costs what the base class's checks cost, and a simulation does it ten thousand times.
    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        turn = _Turn(callback, args, context)
        self._ready.append(turn)  # type: ignore[attr-defined]
        return turn

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        turn = _Turn(callback, args, context)
        turn._when = when  # type: ignore[attr-defined]
        heapq.heappush(self._timers, (when, next(self._numbers), turn))
        return turn

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._virtual + delay, callback, *args, context=context)

    def pause(self, turn: "Pause", seconds: float) -> None:
        """Let it have its turn so much later."""
        heapq.heappush(self._timers, (self._virtual + seconds, next(self._numbers), turn))

    def _run_once(self) -> None:
        """Turns until it stops, as the base class has them, but that nothing outside of the process is looked at.

        That is half of what a turn costs, and a simulation is made of turns.
        """
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while True:
            if not ready:
                self._jump()
            until = self._virtual + _TOGETHER
            while timers and timers[0][0] < until:
                due = heapq.heappop(timers)[2]
                if not due._cancelled:
                    ready.append(due)
            together = len(ready)
            if together > 1:
                self._mix(ready)
            for _ in range(together):
                turn = ready.popleft()
                if not turn._cancelled:
                    try:
                        turn._context.run(turn._callback, *turn._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001 - as the base class has it
                        self.call_exception_handler({"message": f"in {turn._callback!r}", "exception": error})
            if self._stopping:  # type: ignore[attr-defined]
                return

    def _mix(self, ready: Any) -> None:
        """Put what is ready into the order that the seed decides."""
        turns = list(ready)
        for last in range(len(turns) - 1, 0, -1):
            other = int(self._chance() * (last + 1))
            turns[last], turns[other] = turns[other], turns[last]
        ready.clear()
        ready.extend(turns)

    def _jump(self) -> None:
        """Let the next timer be due now."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if timers:
            self._virtual = max(self._virtual, timers[0][0])
        elif not self._stopping:  # type: ignore[attr-defined]
            raise Standstill("nothing is ready and no timer is set: what still waits would wait for ever")


class _Passed:
    """What a task hears whose pause is over: nothing, and that without a call of Python."""

    result = staticmethod(bool)


class _Cancelled:
    """What a task hears of whose pause was cut short."""

    def result(self) -> None:
        raise asyncio.CancelledError


class Pause:
    """Awaited, it lets so many seconds pass. Its end is the task's next step, with no future in between.

    What `asyncio.sleep` does, at a fifth of its price: a simulation is made of pauses. To a task it is a future, and
    to the loop a turn.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "_seconds")

    _args = (_Passed(),)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator["Pause", None, None]:
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = True
        self._cancelled = False
        yield self

    def add_done_callback(self, wake: Callable[..., object], *, context: Context) -> None:
        """The task gives its next step."""
        self._callback, self._context = wake, context
        if isinstance(self._loop, VirtualLoop):
            self._loop.pause(self, self._seconds)
        else:  # a simulated port by itself, where time is real
            self._loop.call_later(self._seconds, self._end, context=context)

    def _end(self) -> None:
        if not self._cancelled:
            self._callback(*self._args)

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled: its next step comes at once."""
        if self._cancelled:
            return False
        self._cancelled = True
        self._loop.call_soon(self._callback, _Cancelled(), context=self._context)
        return True


class VirtualClock:
    """The port `Clock` on the time of the running loop."""

    def now_ms(self) -> int:
        return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, seconds: float) -> None:
        await Pause(seconds)


def run_virtually(main: Coroutine[Any, Any, T], seed: int) -> T:
    """Run to the end in virtual time, on a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main)
