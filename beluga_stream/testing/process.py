"""A process of the simulation: what it starts ends with it, and what it has not sent may be lost with it."""

import asyncio
import random
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_current: ContextVar["Process | None"] = ContextVar("beluga_simulated_process", default=None)


@dataclass(slots=True)
class Faults:
    """What may go wrong, and how often; each figure is a probability for one effect. `left` bounds the crashes.

    Delays are in seconds. When `calm` is set nothing goes wrong any more, so that every run can end.
    """

    random: random.Random
    crash: float = 0.0
    unavailable: float = 0.0
    lost_in_flight: float = 0.5
    delay: float = 0.01
    slow: float = 0.02
    slow_delay: float = 3.0
    left: int = 0
    calm: bool = False

    def pause(self) -> float:
        """How long the next thing takes."""
        if not self.calm and self.random.random() < self.slow:
            return self.random.uniform(0, self.slow_delay)
        return self.random.uniform(0, self.delay)

    def strikes(self, probability: float) -> bool:
        """Whether a fault happens now; it uses up one of those that are left."""
        if self.calm or self.left <= 0 or self.random.random() >= probability:
            return False
        self.left -= 1
        return True


class Process:
    """Tasks with a common fate. `effect` is called between any two effects, and is where it may die."""

    def __init__(self, name: str, faults: Faults) -> None:
        self.name = name
        self.faults = faults
        self.alive = True
        self.failure: BaseException | None = None
        self.ended = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task of this process; all that it starts in turn is this process's too."""
        token = _current.set(self)
        try:
            return asyncio.create_task(work, name=f"{self.name}-{name}")
        finally:
            _current.reset(token)

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Take a task in; the task factory calls it."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def freeze(self) -> None:
        """Stop it as SIGSTOP does, at its next effect."""
        self._going.clear()

    def thaw(self) -> None:
        self._going.set()

    @property
    def frozen(self) -> bool:
        return not self._going.is_set()

    async def effect(self) -> None:
        """A moment between two effects: time passes, and the process may die or stand still."""
        await asyncio.sleep(self.faults.pause())
        await self._going.wait()
        if self.alive and self.faults.strikes(self.faults.crash):
            self.kill()
        if not self.alive:
            await asyncio.Event().wait()  # its tasks are cancelled: nothing of it goes on

    def fail(self, error: BaseException) -> None:
        """It ends by itself, for this reason."""
        self.failure = self.failure or error
        self.kill()

    def kill(self) -> None:
        """End it here and now: no clean-up of its own reaches the outside."""
        if not self.alive:
            return
        self.alive = False
        self._going.set()
        for task in tuple(self._tasks):
            task.cancel()
        self.ended.set()


def current_process() -> Process | None:
    """The simulated process that this code runs in: a handler that kills it dies as by `os._exit`."""
    return _current.get()


def tasks_of_processes(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,
) -> "asyncio.Task[Any]":
    """A task factory: each task belongs to the process whose task started it."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    process = _current.get()
    if process is not None:
        process.adopt(task)
        if not process.alive:
            task.cancel()
    return task
