"""`Task`: a piece of work for a `Scheduler`, with what it depends on, how urgent it is, and until when."""

import contextvars
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from ..application.execution.threads import Threads
from ..bounds import in_time
from ..errors import InvalidConfig, TimedOut
from .node import options_of
from .retry import Retry, Seconds, check_retry, seconds
from .runnable import AsyncInvocable, SyncInvocable
from .signature import called

if TYPE_CHECKING:
    from .scheduler import Scheduled

R = TypeVar("R")
S = TypeVar("S")

_ONCE = Retry(1)


class Task(Generic[R]):
    """A call with its arguments: of a function of any kind, or of something with `invoke`, as chains and graphs.

    `needs` are the tasks whose results it is given, after its own arguments and in this order; `after` are others that
    must have succeeded before. Give names of tasks of the same set, or handles of tasks that were submitted before. Of
    the tasks that could begin, the one with the highest `priority` does, then the one with the earliest `deadline`,
    then the one that came first. `deadline` counts from when the task is submitted (seconds or timedelta): a task that
    has not ended by then fails with `TimedOut`. `retry` is by default what `@node` says, else there is one attempt; the
    `timeout` of `@node` bounds an attempt.

    Raises `InvalidConfig` for what cannot be called and values out of range.
    """

    @overload
    def __init__(
        self: "Task[list[S]]",
        name: str,
        call: Callable[..., AsyncIterator[S] | Iterator[S]],
        /,
        *args: Any,
        needs: "Sequence[str | Scheduled[Any]]" = (),
        after: "Sequence[str | Scheduled[Any]]" = (),
        priority: int = 0,
        deadline: Seconds | None = None,
        retry: Retry | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Task[S]",
        name: str,
        call: Callable[..., Awaitable[S]] | AsyncInvocable[Any, S],
        /,
        *args: Any,
        needs: "Sequence[str | Scheduled[Any]]" = (),
        after: "Sequence[str | Scheduled[Any]]" = (),
        priority: int = 0,
        deadline: Seconds | None = None,
        retry: Retry | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Task[S]",
        name: str,
        call: Callable[..., S] | SyncInvocable[Any, S],
        /,
        *args: Any,
        needs: "Sequence[str | Scheduled[Any]]" = (),
        after: "Sequence[str | Scheduled[Any]]" = (),
        priority: int = 0,
        deadline: Seconds | None = None,
        retry: Retry | None = None,
    ) -> None: ...
    def __init__(  # noqa: PLR0913 - options, each given by its name
        self,
        name: str,
        call: Any,
        /,
        *args: Any,
        needs: "Sequence[str | Scheduled[Any]]" = (),
        after: "Sequence[str | Scheduled[Any]]" = (),
        priority: int = 0,
        deadline: Seconds | None = None,
        retry: Retry | None = None,
    ) -> None:
        found = called(call)
        if not name or not isinstance(cast("object", name), str):
            raise InvalidConfig(f"Task({name!r}): a task needs a name, by which others of its set may depend on it")
        if found is None:
            raise InvalidConfig(
                f"Task({name!r}): a {type(call).__name__} cannot be called: give a function, or an object with invoke",
                task=name,
            )
        for what, given in (("needs", needs), ("after", after)):
            _check_others(name, what, given)
        if not isinstance(cast("object", priority), int):
            raise InvalidConfig(f"Task({name!r}, priority={priority!r}): give a whole number", task=name)
        if deadline is not None and seconds(deadline) <= 0:
            raise InvalidConfig(f"Task({name!r}, deadline={deadline}): give more than 0", task=name)
        self.name = name
        self.needs = tuple(needs)
        self.after = tuple(after)
        self.priority = priority
        self.deadline = None if deadline is None else seconds(deadline)
        options = options_of(call)
        self.retry = options.get("retry", _ONCE) if retry is None else retry
        check_retry(f"Task({name!r})", self.retry)
        self._timeout = seconds(options["timeout"]) if "timeout" in options else None
        self._call = found
        self._args = args

    def __repr__(self) -> str:
        return f"Task({self.name!r})"

    async def run(self, results: Sequence[Any], threads: Threads) -> Any:
        """Call it once, with its arguments and these results; what blocks in a thread. Raises `TimedOut`."""
        async with in_time(self._timeout, self._late):
            return await self._attempt(results, threads)

    def _late(self) -> TimedOut:
        return TimedOut(f"an attempt of task {self.name!r} took longer than {self._timeout:g} s", task=self.name)

    async def _attempt(self, results: Sequence[Any], threads: Threads) -> Any:
        call = functools.partial(self._call, *self._args, *results)
        given: Any
        if inspect.iscoroutinefunction(self._call) or inspect.isasyncgenfunction(self._call):
            given = call()
        else:
            given = await _in_thread(threads, lambda: _whole(call()))
        if inspect.isasyncgen(given):
            return [chunk async for chunk in given]
        return await given if inspect.isawaitable(given) else given


def _check_others(name: str, what: str, given: object) -> None:
    """Raises `InvalidConfig` for what names no tasks."""
    from .scheduler import Scheduled  # noqa: PLC0415 - it imports this module

    if isinstance(given, str):
        raise InvalidConfig(f"Task({name!r}, {what}={given!r}): give a list, as [{given!r}]", task=name)
    if not isinstance(given, Iterable) or not all(isinstance(one, str | Scheduled) for one in given):
        raise InvalidConfig(f"Task({name!r}, {what}={given!r}): give a list of names and of handles", task=name)


def _whole(given: Any) -> Any:
    """What a call gives; of a generator, all that it yields. Judged by itself: a decorator may give something else."""
    return list(given) if inspect.isgenerator(given) else given


async def _in_thread(threads: Threads, call: Callable[[], R]) -> R:
    return await threads.call(functools.partial(contextvars.copy_context().run, call))
