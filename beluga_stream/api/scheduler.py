"""`Scheduler`: runs tasks in this process, by dependencies, priorities and deadlines, on so many workers."""

import functools
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from ..application.execution.threads import Threads
from ..application.scheduler.task import Entry, TaskState
from ..application.scheduler.tasks import TaskPool
from ..bounds import within
from ..domain.dependencies import check_dependencies
from ..errors import InvalidConfig, TimedOut
from .features import check_ranges
from .retry import Seconds, seconds
from .task import Task

R = TypeVar("R")

_MOST_WAITING_THREADS = 1_000
_LOST_FOR_EACH_WORKER = 4


class Scheduled(Generic[R]):
    """A task that a scheduler has taken."""

    def __init__(self, entry: Entry, pool: TaskPool) -> None:
        self._entry = entry
        self._pool = pool

    @property
    def name(self) -> str:
        return self._entry.name

    @property
    def state(self) -> TaskState:
        """`waiting` for others, `ready`, `running`, in `backoff`, `succeeded`, `failed` or `canceled`."""
        return self._entry.state

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._entry.ended

    async def result(self, timeout: Seconds | None = None) -> R:  # noqa: ASYNC109 - seconds or timedelta, as everywhere
        """What it returned, once it has ended. Leaving early does not cancel it.

        Raises `ExecutionFailed` for what it raised (a `BelugaError` as it is), `MaxRetriesExceeded` after several
        attempts, `TimedOut` at its deadline or after `timeout` here, `DependencyFailed` when one that it depends on
        failed, `TaskCanceled`, and `InvalidState` in a task that would wait for itself.
        """
        if timeout is None:
            return await self._value()
        bound = within(seconds(timeout))
        try:
            async with bound:
                return await self._value()
        except TimeoutError as error:
            if not bound.expired():
                raise
            if self.done:  # and the time was up while a task waited for a worker to go on with
                return await self._value()
            raise TimedOut(f"task {self.name!r} did not end within {seconds(timeout):g} s", task=self.name) from error

    def cancel(self) -> bool:
        """End it as cancelled, if it has not ended: True. An async handler is cancelled; a thread is left behind."""
        return self._pool.cancel(self._entry)

    @property
    def entry(self) -> Entry:
        """The pool's side of it."""
        return self._entry

    async def _value(self) -> R:
        value: R = await self._pool.result(self._entry)
        return value

    def __repr__(self) -> str:
        return f"Scheduled({self.name!r}, {self.state})"


class Scheduler:
    """Runs tasks: at most `max_workers` (1 to 1,000) at a time, while `queue_size` more (0 to 100,000) may wait.

    Use it with `async with`: leaving the block waits for all tasks, an error in it cancels them; failures whose result
    nobody has asked for are logged then. It lives in this process and ends with it; what must outlive a process is a
    graph on Kafka. Belongs to one event loop.

    Raises `InvalidConfig` when a value is out of range.
    """

    def __init__(self, *, max_workers: int = 5, queue_size: int = 100) -> None:
        check_ranges("Scheduler", max_workers=max_workers, queue_size=queue_size)
        self._pool = TaskPool(max_workers, queue_size)
        # A task that waits for another one has no worker, and if it is a blocking one, its thread all the same.
        waiting = min(queue_size, _MOST_WAITING_THREADS)
        self._threads = Threads(max_workers + waiting, lost_at_most=_LOST_FOR_EACH_WORKER * max_workers)

    @property
    def running(self) -> int:
        """How many tasks have a worker."""
        return self._pool.running

    @property
    def waiting(self) -> int:
        """How many tasks wait, for others, for a worker or for their next attempt."""
        return self._pool.waiting

    def submit(self, task: Task[R], /) -> Scheduled[R]:
        """Take one task. What it depends on must be given by handles. For errors see `submit_all`."""
        (handle,) = self.submit_all([task]).values()
        return handle

    def submit_all(self, tasks: Iterable[Task[Any]], /) -> Mapping[str, Scheduled[Any]]:
        """Take a set of tasks, or none of them; their handles by name.

        Raises `InvalidConfig` for two of one name, an unknown dependency and a cycle (which it names) before anything
        runs, `ResourceExhausted` when there is no room for all, and `InvalidState` when the scheduler is closed.
        """
        chosen = list(tasks)
        for task in chosen:
            if not isinstance(cast("object", task), Task):
                raise InvalidConfig(f"{task!r} is no task: give Task(name, function, ...)")
        given = {task.name: task for task in chosen}
        if len(given) < len(chosen):
            twice = sorted({task.name for task in chosen if sum(other.name == task.name for other in chosen) > 1})
            raise InvalidConfig(f"tasks of one set have one name: {', '.join(twice)}", task=twice[0])
        check_dependencies(
            {
                name: [other for other in (*task.needs, *task.after) if isinstance(other, str)]
                for name, task in given.items()
            }
        )
        self._pool.refuse_if_full(len(given))
        entries = {name: self._entry(task) for name, task in given.items()}
        for name, task in given.items():
            entries[name].feeding = self._entries(task, task.needs, entries)
            entries[name].after = self._entries(task, task.after, entries)
        self._pool.submit(list(entries.values()))
        return {name: Scheduled(entry, self._pool) for name, entry in entries.items()}

    async def join(self) -> None:
        """Wait until every task has ended, well or not. Raises `InvalidState` in a task: it would wait for itself."""
        await self._pool.join()

    async def aclose(self) -> None:
        """Take no more tasks, cancel those that have not ended, and wait until their handlers have stopped (10 s)."""
        await self._pool.close()
        await self._threads.close()

    async def __aenter__(self) -> Self:
        self._pool.refuse_if_full(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.join()
        finally:
            await self.aclose()

    def _entry(self, task: Task[Any]) -> Entry:
        return Entry(
            task.name,
            functools.partial(task.run, threads=self._threads),
            task.priority,
            task.deadline,
            task.retry.policy(),
            task.retry.kinds,
        )

    def _entries(
        self, task: Task[Any], others: "tuple[str | Scheduled[Any], ...]", mine: Mapping[str, Entry]
    ) -> tuple[Entry, ...]:
        found: list[Entry] = []
        for other in others:
            if isinstance(other, str):
                found.append(mine[other])
                continue
            if other._pool is not self._pool:  # noqa: SLF001 - a handle is this class's own
                raise InvalidConfig(f"task {task.name!r} depends on {other!r} of another scheduler", task=task.name)
            found.append(other.entry)
        return tuple(found)
