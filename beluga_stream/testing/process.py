"""A process of the simulation: what it starts ends with it, and what it has not sent may be lost with it."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .virtual_time import EPOCH_MS, Pause

_current: ContextVar["Process | None"] = ContextVar("beluga_simulated_process", default=None)


_LASTS = 0.6
"""How often there is time between two effects; the others follow at once, and nobody comes in between."""

_FEW_TASKS = 64

_OVERSLEEPS = 5.0
"""How many times longer than it meant a process may sleep at most."""


@dataclass(slots=True)
class Faults:
    """What may go wrong, and how often; each figure is a probability for one effect. `left` bounds the crashes.

    Delays are in seconds, the most that they may be; `late` is how often a live read begins with one, and `forgets` how
    often the log confirms that a time has come, and loses it. When `calm` is set nothing goes wrong any more, so that
    every run can end.
    """

    random: random.Random
    crash: float = 0.0
    unavailable: float = 0.0
    forgets: float = 0.0
    lost_in_flight: float = 0.5
    delay: float = 0.01
    slow: float = 0.02
    slow_delay: float = 3.0
    late: float = 0.5
    late_delay: float = 20.0
    left: int = 0
    calm: bool = False

    def pause(self) -> float:
        """How long the next thing takes."""
        chance = self.random.random
        most = self.slow_delay if not self.calm and chance() < self.slow else self.delay
        return most * chance()

    def strikes(self, probability: float) -> bool:
        """Whether a fault happens now; it uses up one of those that are left."""
        if self.calm or self.left <= 0 or self.random.random() >= probability:
            return False
        self.left -= 1
        return True


Tell = Callable[[str], None]


def _tells_nobody(what: str) -> None: ...


class Process:
    """Tasks with a common fate. `effect` is called between any two effects, and is where it may die."""

    def __init__(self, name: str, faults: Faults, skew_seconds: float = 0.0, tell: Tell = _tells_nobody) -> None:
        self.name = name
        self.faults = faults
        self.tell = tell
        """Says what befalls it."""
        self.skew_ms = round(1000 * faults.random.uniform(-skew_seconds, skew_seconds))
        """How far its clock is ahead."""
        self.alive = True
        self.failure: BaseException | None = None
        self.ended = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_most = _FEW_TASKS

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task of this process; all that it starts in turn is this process's too."""
        token = _current.set(self)
        try:
            return asyncio.create_task(work, name=f"{self.name}-{name}")
        finally:
            _current.reset(token)

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Take a task in; the task factory calls it. Those that are done are let go of now and then."""
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_most:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._tasks_most = max(_FEW_TASKS, 2 * len(self._tasks))

    def freeze(self) -> None:
        """Stop it as SIGSTOP does, at its next effect."""
        self._going.clear()
        self.tell("stands still")

    def thaw(self) -> None:
        self._going.set()
        self.tell("goes on")

    @property
    def frozen(self) -> bool:
        return not self._going.is_set()

    def now_ms(self) -> int:
        """The port `Clock`: its own clock, which is ahead or behind."""
        return EPOCH_MS + self.skew_ms + int(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, seconds: float) -> None:
        """The port `Clock`: it wakes when it gets to it, which is later than it wanted."""
        await Pause(seconds * self.faults.random.uniform(1, _OVERSLEEPS))

    async def effect(self) -> None:
        """A moment between two effects: time passes or not, and the process may die or stand still."""
        faults = self.faults
        if faults.random.random() < _LASTS:
            await Pause(faults.pause())
        if not self._going.is_set():
            await self._going.wait()
        if faults.left > 0 and self.alive and faults.strikes(faults.crash):
            self.kill()
        if not self.alive:
            await asyncio.Event().wait()  # its tasks are cancelled: nothing of it goes on

    def fail(self, error: BaseException) -> None:
        """It ends by itself, for this reason."""
        self.failure = self.failure or error
        self.tell(f"fails: {error!r}")
        self.kill()

    def kill(self) -> None:
        """End it here and now: no clean-up of its own reaches the outside."""
        if not self.alive:
            return
        self.alive = False
        self.tell("dies")
        self._going.set()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
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
