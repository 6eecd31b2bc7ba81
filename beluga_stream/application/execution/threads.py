"""Threads for handlers that block. One whose call was given up is left behind, and another takes its place.

A thread cannot be stopped from outside. What goes on after its node's timeout therefore keeps its thread and
nobody else's: up to `lost_at_most` threads are replaced. After that the places that stay taken are missing,
and once all are, calls are refused at once, so that other workers can have them.
"""

import asyncio
import inspect
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import ResourceExhausted

R = TypeVar("R")
_LOST_FOR_EACH = 4

UNCARRIED = (StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt)
"""What no future can carry.

Of the first it would never be done, the next would end the stream of who awaits it as if all were well, by the third
who awaits it would be closed, and the last, which is no Ctrl-C in a thread, would end the loop and all that others do
in it.
"""

log = logging.getLogger("beluga_stream.worker")


_here = threading.local()
"""The `WorkerThread` that the calling thread is."""


def is_given_up() -> bool:
    """Whether nobody waits any more for the call that goes on in this thread. Nobody can stop it; it may look."""
    thread: WorkerThread | None = getattr(_here, "thread", None)
    return thread is not None and thread.lost


class WorkerThread:
    """What does one call after the other. `lost` once its call was given up, with or without its place."""

    lost = False
    keeps_place = True

    def give(self, step: Callable[[], None] | None) -> None:
        """The next to do; None: there will be no more."""
        raise NotImplementedError


class _Thread(WorkerThread):
    """One daemon thread and what it is to do next: daemons do not keep a process from ending."""

    def __init__(self, number: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._live, name=f"beluga-node-{number}", daemon=True).start()

    def give(self, step: Callable[[], None] | None) -> None:
        self._work.put(step)

    def _live(self) -> None:
        while (step := self._work.get()) is not None:
            step()
            del step  # which holds the loop that it tells, and nothing may while this thread is idle


class Threads:
    """At most `size` calls at once, but for those that were given up."""

    def __init__(self, size: int = 16, *, lost_at_most: int | None = None) -> None:
        self._free = size
        self._lost_at_most = _LOST_FOR_EACH * size if lost_at_most is None else lost_at_most
        self._size = size
        self.idle: list[WorkerThread] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._stuck: set[WorkerThread] = set()
        self._numbers = 0
        self._closed = False

    @property
    def lost(self) -> int:
        """How many threads are at calls that were given up."""
        return len(self._stuck)

    async def call(self, function: Callable[[], R]) -> R:
        """Call it in a thread. Cancelling gives the call up, and does not end it.

        Raises `ResourceExhausted` when every place is taken by calls that were given up.
        """
        await self._place()
        loop = asyncio.get_running_loop()
        thread = self.idle.pop() if self.idle else self._new()
        future: asyncio.Future[R] = loop.create_future()

        def step() -> None:
            _here.thread = thread
            outcome, error = _tried(function)
            _here.thread = None
            try:
                loop.call_soon_threadsafe(self._ended, thread, future, outcome, error)
            except RuntimeError:
                thread.give(None)  # the loop is closed: nobody waits any more, or has more to do

        thread.give(step)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._give_up(thread)
            elif future.exception() is None:
                _let_go(future.result())
            raise

    async def close(self) -> None:
        """Let idle threads end. Those that are at work end with the process at the latest."""
        self._closed = True
        end_idle(self.idle)

    async def _place(self) -> None:
        self._refuse_if_stuck()
        if self._free > 0:
            self._free -= 1
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._leave()
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def _leave(self) -> None:
        """A place is free: the first that waits has it."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self._free += 1

    def _new(self) -> WorkerThread:
        self._numbers += 1
        return _Thread(self._numbers)

    def _ended(
        self, thread: WorkerThread, future: "asyncio.Future[Any]", outcome: Any, error: BaseException | None
    ) -> None:
        if thread in self._stuck:
            self._stuck.discard(thread)
            log.info("a thread came back from a call that was given up", extra={"action": "thread_back"})
        if future.done():
            _let_go(outcome)
        elif error is None:
            future.set_result(outcome)
        else:
            future.set_exception(error)
        if self._closed or thread.lost:
            thread.give(None)
        else:
            self.idle.append(thread)
        if thread.keeps_place:
            self._leave()

    def _give_up(self, thread: WorkerThread) -> None:
        self._stuck.add(thread)
        thread.lost = True
        replaced = sum(not one.keeps_place for one in self._stuck) < self._lost_at_most
        if replaced:
            thread.keeps_place = False
            self._leave()
        log.log(
            logging.INFO if replaced else logging.ERROR,
            "a handler goes on in its thread though its call is over: %d such threads%s",
            len(self._stuck),
            "" if replaced else ", and no more are replaced: restart this worker",
            extra={"action": "thread_lost", "lost": len(self._stuck)},
        )
        if self._all_stuck():
            while self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_exception(self._exhausted())

    def _all_stuck(self) -> bool:
        return sum(one.keeps_place for one in self._stuck) >= self._size

    def _refuse_if_stuck(self) -> None:
        if self._all_stuck():
            raise self._exhausted()

    def _exhausted(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"all {len(self._stuck)} threads of this worker are at handlers that went on after their "
            f"timeout: restart it, and let handlers that block have timeouts of their own"
        )


def end_idle(idle: list[WorkerThread]) -> None:
    """Let these threads end."""
    for thread in idle:
        thread.give(None)
    idle.clear()


def _let_go(outcome: object) -> None:
    """Nobody waits for it. A coroutine that is never awaited would be told of as a mistake of the user's."""
    if inspect.iscoroutine(outcome):
        outcome.close()


def _tried(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return function(), None
    except UNCARRIED as error:
        raised = RuntimeError(f"the handler raised {type(error).__name__}")
        raised.__cause__ = error
        return None, raised
    except BaseException as error:  # noqa: BLE001 - a user's function may raise anything; it is handed over
        return None, error
