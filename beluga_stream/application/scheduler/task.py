"""One task as its pool knows it: what it waits for, how it stands, and how what ends it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...domain.retry import RetryPolicy
from ...errors import BelugaError, DependencyFailed, ExecutionFailed, MaxRetriesExceeded
from ..execution.judging import said

TaskState = Literal["waiting", "ready", "running", "backoff", "succeeded", "failed", "canceled"]


@dataclass(eq=False, slots=True)
class Entry:
    """One task. `call` takes the results of `feeding`; `deadline` is a time of the event loop."""

    name: str
    call: Callable[[Sequence[Any]], Awaitable[Any]]
    priority: int
    deadline_seconds: float | None
    policy: RetryPolicy
    on: tuple[type[Exception], ...] | None
    feeding: tuple["Entry", ...] = ()
    after: tuple["Entry", ...] = ()
    state: TaskState = "waiting"
    order: int = 0
    deadline: float = float("inf")
    failures: int = 0
    has_worker: bool = False
    asking: int = 0
    """How many wait for its result: they hear of its failure."""
    heard: bool = False
    """Whether somebody has been told its result."""
    outcome: "asyncio.Future[Any]" = field(init=False)
    left: "set[Entry]" = field(default_factory=set)
    dependents: "dict[Entry, None]" = field(default_factory=dict)
    awaits: "list[Entry]" = field(default_factory=list)
    """Whose results its parts wait for."""
    resumed: "asyncio.Future[None] | None" = None
    """Done once it need not wait for a worker any more; None while it does not."""
    timers: "list[asyncio.TimerHandle]" = field(default_factory=list)
    work: "asyncio.Task[None] | None" = None

    @property
    def ended(self) -> bool:
        return self.outcome.done()

    @property
    def lacks_worker(self) -> bool:
        """Whether it could go on, if only it had a worker."""
        return not (self.has_worker or self.awaits or self.ended or self.work is None)

    @property
    def rank(self) -> tuple[int, float, int]:
        """Its place among those that are ready: priority, then deadline, then who came first."""
        return (-self.priority, self.deadline, self.order)

    def forget(self) -> None:
        """Hold nothing but the outcome: the handle of the last of many tasks keeps none of the others in memory."""
        self.call, self.feeding, self.after = _over, (), ()
        for other in self.left:
            other.dependents.pop(self, None)
        self.left.clear()
        self.dependents.clear()
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


def path(start: Entry, goal: Entry) -> Sequence[Entry] | None:
    """From one task over those that it waits for to another one; None when there is no way."""
    if start is goal:
        return (goal,)
    seen, ways = {start}, [iter(_waited_for(start))]
    path = [start]
    while ways:
        step = next(ways[-1], None)
        if step is None:
            ways.pop()
            path.pop()
        elif step is goal:
            return (*path, goal)
        elif step not in seen:
            seen.add(step)
            ways.append(iter(_waited_for(step)))
            path.append(step)
    return None


def broken(entry: Entry, other: Entry) -> DependencyFailed:
    return DependencyFailed(
        f"task {entry.name!r} did not begin: {other.outcome.exception()}", task=entry.name, dependency=other.name
    )


def judged(entry: Entry, error: BaseException, *, exhausted: bool) -> BelugaError:
    made: BelugaError
    if exhausted:
        told = f"task {entry.name!r} failed {entry.failures} times, the last time with"
        made = MaxRetriesExceeded(f"{told} {type(error).__name__}: {said(error)}", task=entry.name)
    elif isinstance(error, BelugaError):
        return error
    else:
        made = ExecutionFailed(f"task {entry.name!r} raised {type(error).__name__}: {said(error)}", task=entry.name)
    made.__cause__ = error
    return made


def _waited_for(entry: Entry) -> Iterable[Entry]:
    return () if entry.ended else (*entry.left, *entry.awaits)


async def _over(results: Sequence[Any]) -> None:
    raise AssertionError("a task that has ended begins no more")
