"""Tasks in this process: each begins once what it depends on has ended, by priority, on a bounded number of workers.

A task that waits, for others, for its next attempt or for the result of another one, takes no worker meanwhile: so no
set of tasks can keep itself from going on. It waits as long as any part of it does, as one in `asyncio.gather`: what
others of its parts do meanwhile cannot be seen from here.
"""

import asyncio
import contextvars
import heapq
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from ...domain.retry import delay_ms
from ...errors import (
    BelugaError,
    DependencyFailed,
    ExecutionFailed,
    InvalidState,
    ResourceExhausted,
    TaskCanceled,
    TimedOut,
)
from ..execution.judging import asked_pause_ms, may_help
from .task import Entry, broken, judged, path

_STOP_SECONDS = 10.0
"""How long tasks may take to end once the pool is closed."""

log = logging.getLogger("beluga_stream.scheduler")


class TaskPool:
    """Runs tasks: at most `max_workers` at a time, and `queue_size` beyond those that have not ended.

    Belongs to one event loop, by whose time deadlines go.
    """

    def __init__(self, max_workers: int, queue_size: int) -> None:
        self._most = max_workers + queue_size
        self._free = max_workers  # below 0 while tasks go on beyond the bound: see `result`
        self._ready: list[tuple[tuple[int, float, int], Entry]] = []
        self._resuming: deque[Entry] = deque()
        self._unended: dict[Entry, None] = {}
        self._unheard: dict[Entry, BelugaError] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._orders = 0
        self._dispatching = False
        self._closed = False
        self._current: contextvars.ContextVar[Entry | None] = contextvars.ContextVar("task", default=None)

    @property
    def running(self) -> int:
        """How many tasks have a worker."""
        return sum(entry.has_worker for entry in self._unended)

    @property
    def waiting(self) -> int:
        """How many tasks have not ended and have no worker."""
        return len(self._unended) - self.running

    def refuse_if_full(self, more: int) -> None:
        """Raises `InvalidState` when closed and `ResourceExhausted` when so many more are too many."""
        if self._closed:
            raise InvalidState("the scheduler is closed: make another")
        if len(self._unended) + more > self._most:
            raise ResourceExhausted(
                f"the scheduler is full: {len(self._unended)} tasks have not ended, and it takes {self._most} "
                f"with its workers and queue: none of these {more} was taken; try later"
            )

    def submit(self, entries: Sequence[Entry]) -> None:
        """Take these, or none of them. What comes in one turn of the event loop begins by its rank."""
        self.refuse_if_full(len(entries))
        loop = asyncio.get_running_loop()
        for entry in entries:
            self._orders += 1
            entry.order = self._orders
            entry.outcome = loop.create_future()
            self._unended[entry] = None
            if entry.deadline_seconds is not None:
                entry.deadline = loop.time() + entry.deadline_seconds
                entry.timers.append(loop.call_at(entry.deadline, self._expire, entry))
        for entry in entries:
            self._link(entry)
        self._dispatch_soon()

    def cancel(self, entry: Entry) -> bool:
        """Whether it had not ended yet: then it ends as cancelled now, and its handler is told to stop."""
        if entry.ended:
            return False
        self._settle(entry, error=TaskCanceled(f"task {entry.name!r} was cancelled", task=entry.name))
        return True

    async def result(self, entry: Entry) -> Any:
        """What came of it. A task of this pool that asks gives its worker back while it waits.

        A task that is cancelled here goes on at once, beyond the bound if no worker is free: a timeout keeps its time,
        and what the task does next may be what those that have the workers wait for.
        """
        own = self._current.get()
        entry.asking += 1
        try:
            if not entry.ended:
                await (asyncio.wait([entry.outcome]) if own is None else self._parked(own, entry))
            entry.heard = True
            self._unheard.pop(entry, None)
        finally:
            entry.asking -= 1
            self._note_unheard(entry)
        return entry.outcome.result()

    async def join(self) -> None:
        """Wait until every task has ended. Raises `InvalidState` in one of them."""
        if (own := self._current.get()) is not None:
            raise InvalidState(f"task {own.name!r} waits for all tasks, itself among them", task=own.name)
        while self._unended:
            await asyncio.wait([entry.outcome for entry in self._unended])
        await self._stopped(None)

    async def close(self) -> None:
        """Take no more, cancel all that has not ended, and wait until handlers have stopped, within a bound.

        Failures that nobody has asked for are logged.
        """
        self._closed = True
        for entry in list(self._unended):
            self.cancel(entry)
        await self._stopped(_STOP_SECONDS)
        if self._working:
            log.error("%d tasks go on though they are cancelled", len(self._working), extra={"action": "task.lost"})
        while self._unheard:
            self._tell_unheard()

    async def _stopped(self, seconds: float | None) -> None:
        working = self._working - {asyncio.current_task()}
        if working:
            await asyncio.wait(working, timeout=seconds)

    def _link(self, entry: Entry) -> None:
        for other in dict.fromkeys((*entry.feeding, *entry.after)):
            if not other.ended:
                entry.left.add(other)
                other.dependents[entry] = None
            elif other.outcome.exception() is not None:
                self._settle(entry, error=broken(entry, other))
                return
        if not entry.left:
            self._make_ready(entry)

    def _make_ready(self, entry: Entry) -> None:
        if entry.ended:
            return
        entry.state = "ready"
        if len(self._ready) > 2 * self._most:
            # Those that ended while they waited here, cancelled or past their deadline: they would be held for ever.
            self._ready = [pair for pair in self._ready if pair[1].state == "ready"]
            heapq.heapify(self._ready)
        heapq.heappush(self._ready, (entry.rank, entry))
        self._dispatch_soon()

    def _dispatch_soon(self) -> None:
        """In the next turn, so that what is submitted together competes."""
        if not self._dispatching:
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        while self._free > 0 and self._resuming:
            self._go_on(self._resuming.popleft())
        while self._free > 0 and self._ready:
            _, entry = heapq.heappop(self._ready)
            if entry.state == "ready":
                self._begin(entry)

    def _begin(self, entry: Entry) -> None:
        self._free -= 1
        entry.state, entry.has_worker = "running", True
        context = contextvars.copy_context()
        context.run(self._current.set, entry)
        entry.work = asyncio.get_running_loop().create_task(
            self._work(entry), name=f"task-{entry.name}", context=context
        )
        self._working.add(entry.work)
        entry.work.add_done_callback(self._working.discard)

    async def _work(self, entry: Entry) -> None:
        try:
            value = await entry.call([other.outcome.result() for other in entry.feeding])
        except asyncio.CancelledError:
            # Its own, not ours: then it has ended before it was told to stop.
            self._settle(entry, error=TaskCanceled(f"task {entry.name!r} was cancelled", task=entry.name))
        except SystemExit as error:
            told = f"task {entry.name!r} called sys.exit({error.code!r})"
            self._failed(entry, ExecutionFailed(told, task=entry.name))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            self._failed(entry, error)
        else:
            self._settle(entry, value=value)
        finally:
            entry.work = None
            self._lend(entry)

    def _failed(self, entry: Entry, error: BaseException) -> None:
        if entry.ended:
            return
        entry.failures += 1
        again = may_help(error, entry.on) and entry.policy.attempts > 1
        if again and entry.failures < entry.policy.attempts:
            entry.state = "backoff"
            loop = asyncio.get_running_loop()
            ids = (entry.name, str(entry.order))
            pause = delay_ms(entry.policy, entry.failures, *ids, asked_ms=asked_pause_ms(error))
            entry.timers.append(loop.call_later(pause / 1000, self._make_ready, entry))
            return
        self._settle(entry, error=judged(entry, error, exhausted=again))

    def _expire(self, entry: Entry) -> None:
        if entry.ended:
            return
        what = "did not begin" if entry.state in ("waiting", "ready") else "did not end"
        told = f"task {entry.name!r} {what} by its deadline, {entry.deadline_seconds:g} s after it was submitted"
        self._settle(entry, error=TimedOut(told, task=entry.name))

    def _settle(self, entry: Entry, *, value: Any = None, error: BelugaError | None = None) -> None:
        """It has ended; what depends on it goes on, or ends too."""
        ending: deque[tuple[Entry, Any, BelugaError | None]] = deque([(entry, value, error)])
        while ending:
            one, value, error = ending.popleft()
            if one.ended:
                continue
            self._unended.pop(one, None)
            if error is None:
                one.state = "succeeded"
                one.outcome.set_result(value)
            else:
                one.state = "canceled" if isinstance(error, TaskCanceled) else "failed"
                one.outcome.set_exception(error)
                one.outcome.exception()  # looked at: who wants it asks for the result
                log.debug("task %s: %s", one.name, error, extra={"action": "task.failed", "task": one.name})
                self._note_unheard(one)
                if one.work is not None and one.work is not asyncio.current_task():
                    one.work.cancel()
            for dependent in one.dependents:
                dependent.left.discard(one)
                if error is not None:
                    ending.append((dependent, None, broken(dependent, one)))
                elif not dependent.left:
                    self._make_ready(dependent)
            one.forget()
        self._dispatch_soon()

    def _note_unheard(self, entry: Entry) -> None:
        """Keep a failure until somebody is told. What only follows from another's is told with that one."""
        error = entry.outcome.exception() if entry.ended else None
        if entry.asking or entry.heard or not isinstance(error, BelugaError):
            return
        if isinstance(error, TaskCanceled | DependencyFailed):
            return
        self._unheard[entry] = error
        if len(self._unheard) > self._most:  # a scheduler may live long: what it keeps is bounded
            self._tell_unheard()

    def _tell_unheard(self) -> None:
        """Log the first of those."""
        entry = next(iter(self._unheard))
        error = self._unheard.pop(entry)
        told = {"action": "task.unheard", "task": entry.name}
        log.warning("nobody asked for the result of a task that failed: %s", error, extra=told)

    async def _parked(self, own: Entry, other: Entry) -> None:
        """One task waits for the end of another one, and takes no worker meanwhile."""
        if not own.ended and (circle := path(other, own)) is not None:
            told = " -> ".join(entry.name for entry in (own, *circle))
            raise InvalidState(f"tasks wait for each other in a circle: {told}", task=own.name)
        try:
            own.awaits.append(other)
            self._lend(own)
            try:
                await asyncio.wait([other.outcome])
            finally:
                own.awaits.remove(other)
            await self._resume(own)
        except asyncio.CancelledError:
            self._go_on(own)
            raise

    async def _resume(self, own: Entry) -> None:
        """Get a worker again, before those that have not begun. All parts of a task wait for the same one."""
        while own.lacks_worker:
            if own.resumed is None:
                own.resumed = asyncio.get_running_loop().create_future()
                self._resuming.append(own)
                self._dispatch_soon()
            await asyncio.wait([own.resumed])

    def _lend(self, own: Entry) -> None:
        if own.has_worker:
            own.has_worker = False
            self._free += 1
            self._dispatch_soon()

    def _go_on(self, own: Entry) -> None:
        """With a worker, unless it has ended or waits again: then it needs none."""
        if own.lacks_worker:
            own.has_worker = True
            self._free -= 1
        if own.resumed is not None:
            own.resumed.set_result(None)
            own.resumed = None
