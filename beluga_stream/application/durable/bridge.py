"""The role `workflows`: takes what coordinators ask for durable runs, and sees that it is done.

Requests of one run are done in their order, those of different runs beside each other. While nobody who hosts workflows
answers, they wait in their topic: each is tried again and again, nothing is acknowledged, and what is not
acknowledged comes again. Every call is harmless when it is repeated. What fails of an error that is nobody's answer
is tried a few times, then given up, so that it holds up nothing behind it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...domain.events import (
    CancelRequested,
    ChildFinished,
    Failure,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
)
from ...domain.ids import RunId
from ...errors import (
    AccessDenied,
    BelugaError,
    Fenced,
    InvalidInput,
    InvalidState,
    LogUnavailable,
    NotFound,
    ResourceExhausted,
)
from ...ports.clock import Clock
from ...ports.log import Appender, Outgoing, Record
from ...ports.workflows import Workflows, WorkflowState
from .. import codec
from ..catalog import Catalog
from ..deadletters import dead_letter
from ..messages import LookAfter, WorkflowRequest
from ..payloads import Payloads
from ..topics import Topics

log = logging.getLogger("beluga_stream.workflows")

_FIRST_PAUSE_SECONDS = 0.5
_TRIES = 5
"""How often a request is tried that fails of an error which is not in our tree."""

_Told: TypeAlias = Literal["failed", "cancelled", "rejected"]

_ENDS: dict[WorkflowState, tuple[_Told, str, str]] = {
    "failed": ("failed", "execution_failed", "its workflow failed: Temporal's history of it says why"),
    "cancelled": ("cancelled", "task_canceled", "its workflow was cancelled"),
    "terminated": ("failed", "task_canceled", "its workflow was terminated"),
    "timed_out": ("failed", "timeout", "its workflow timed out"),
    "unknown": ("failed", "not_found", "its workflow is not known to Temporal (any more)"),
}
"""How a durable run has ended that could not tell it itself. One that `succeeded` has told it before."""


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """`at_once` calls at most are under way; `waiting` requests at most are taken; pauses in seconds."""

    at_once: int = 64
    waiting: int = 2_000
    longest_pause_seconds: float = 15.0


class Bridge:
    """A `Role` over `beluga.workflow-requests`. `hosting` is what its process does beside it, until it is cancelled."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        workflows: Workflows,
        catalog: Catalog,
        appender: Appender,
        payloads: Payloads,
        clock: Clock,
        hosting: Callable[[], Awaitable[None]] | None = None,
        options: BridgeOptions = BridgeOptions(),
    ) -> None:
        self.topics: tuple[str, ...] = (topics.workflow_requests,)
        self._names = topics
        self._workflows = workflows
        self._catalog = catalog
        self._appender = appender
        self._payloads = payloads
        self._clock = clock
        self._hosting = hosting
        self._options = options
        self._slots = asyncio.Semaphore(options.at_once)
        self._last: dict[RunId, asyncio.Task[None]] = {}
        """For each run with requests under way, the last of them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        """Those of them that nobody has answered yet."""

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return len(self._tasks)

    @property
    def held_back(self) -> frozenset[str]:
        """No more for now, when much is under way already."""
        return frozenset(self.topics) if len(self._tasks) >= self._options.waiting else frozenset()

    @property
    def yielding(self) -> frozenset[str]:
        """Nothing: there is one topic."""
        return frozenset()

    async def acquire(self, partitions: frozenset[int]) -> None:
        """There is nothing to recover: what was not done lies in the topic."""

    async def release(self, partitions: frozenset[int]) -> None:
        """Give what is under way a moment at its slots, then leave it: whoever is next gets it again, in its order."""
        tasks = tuple(self._tasks)
        for task in self._waiting:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._options.longest_pause_seconds / 3)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tend(self) -> None:
        """Host workflows, where this process is one that does."""
        if self._hosting is not None:
            await self._hosting()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Leave what is under way, and let go of the workflows."""
        await self.release(frozenset())
        await self._workflows.close()

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        """Begin to do these; what is returned ends when all are done. If they are left, it never does."""
        if not records:
            return None
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks = [self._begin(record) for record in records]
        left = len(tasks)

        def ended(task: asyncio.Task[None]) -> None:
            nonlocal left
            error = None if task.cancelled() else task.exception()
            if task.cancelled() or done.done():
                return
            if error is not None:
                done.set_exception(error)
                return
            left -= 1
            if left == 0:
                done.set_result(None)

        for task in tasks:
            task.add_done_callback(ended)
        return done

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """A bridge goes by the records that it gets alone."""

    def _begin(self, record: Record) -> "asyncio.Task[None]":
        try:
            request = codec.workflow_requests.decode(record.value)
            if record.key != request.key.encode():
                raise InvalidInput(f"a {request.type} of {request.run} has another record key than its member `key`")
        except BelugaError as error:
            task = asyncio.create_task(self._refuse(record, error))
        else:
            task = asyncio.create_task(self._perform(record, request, self._last.get(request.run)))
            self._last[request.run] = task
            task.add_done_callback(lambda ended: self._forget(request.run, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, run: RunId, task: "asyncio.Task[None]") -> None:
        if self._last.get(run) is task:
            del self._last[run]

    async def _perform(self, record: Record, request: WorkflowRequest, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
            if before.cancelled() or before.exception() is not None:
                raise asyncio.CancelledError  # nothing of a run overtakes what is left of it
        task = asyncio.current_task()
        assert task is not None, "a request is performed by a task of its own"
        try:
            await self._until_done(record, request, task)
        finally:
            self._waiting.discard(task)

    async def _until_done(self, record: Record, request: WorkflowRequest, task: "asyncio.Task[None]") -> None:
        """Try it until it is done or refused. Between two tries it holds no slot: others may fare better."""
        pause, broken = _FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                async with self._slots:
                    await self._do(request)
            except Fenced:
                raise
            except (LogUnavailable, ResourceExhausted, AccessDenied) as error:  # the last is mended by an operator
                self._is_away(error, task)
            except NotFound as error:
                self._is_back(task)
                told = {"action": "moot", "run": request.run}
                log.info("nobody is there to take a %s: %s", request.type, error, extra=told)
                return
            except BelugaError as error:
                self._is_back(task)
                await self._decline(record, request, error)
                return
            except Exception as error:
                broken += 1
                log.exception(
                    "a %s of run %s failed, %d of %d tries",
                    request.type,
                    request.run,
                    broken,
                    _TRIES,
                    extra={"action": "request_failed", "run": request.run},
                )
                if broken == _TRIES:
                    await self._decline(record, request, _unforeseen(request, error))
                    return
            else:
                self._is_back(task)
                return
            await self._clock.sleep(pause)
            pause = min(2 * pause, self._options.longest_pause_seconds)

    async def _do(self, request: WorkflowRequest) -> None:
        match request:
            case RunRequested():
                await self._start(request)
            case SignalReceived():
                await self._workflows.signal(request)
            case CancelRequested():
                await self._workflows.cancel(request)
            case RetryRequested():
                await self._retry(request)
            case LookAfter():
                await self._look(request)

    async def _start(self, request: RunRequested) -> None:
        """One that cannot be is refused, as any start is: its parent must not wait for it."""
        await self._catalog.find(request.definition)
        try:
            await self._workflows.start(request)
        except NotFound as error:
            raise InvalidState(str(error), run=request.run) from error

    async def _retry(self, request: RetryRequested) -> None:
        """One that is gone stays so: the next look tells its parent."""
        await self._workflows.retry(request)

    async def _look(self, request: LookAfter) -> None:
        state = await self._workflows.describe(request.run)
        end = _ENDS.get(state)
        if end is None:
            return
        status, code, message = end
        log.warning(
            "run %s: %s", request.run, message, extra={"action": "workflow_gone", "run": request.run, "state": state}
        )
        await self._finished(request.run, request.parent, status, Failure(code, message), request.counter + 1)

    async def _decline(self, record: Record, request: WorkflowRequest, error: BelugaError) -> None:
        """A start that cannot be is answered, for somebody waits; whatever else cannot be done is a dead letter."""
        if not isinstance(request, RunRequested) or request.parent is None:
            await self._refuse(record, error)
            return
        log.warning("rejected a start: %s", error, extra={"action": "reject", "run": request.run})
        await self._finished(request.run, request.parent, "rejected", Failure(error.code, str(error)), 0)

    async def _finished(self, run: RunId, parent: Parent, status: _Told, failure: Failure, counter: int) -> None:
        """Tell the parent in the place of the run. Such a run cannot go on: a retry begins another."""
        told = ChildFinished(
            run=parent.run,
            key=parent.key,
            at_ms=self._clock.now_ms(),
            node=parent.node,
            child=run,
            status=status,
            failure=failure,
            counter=counter,
            may_go_on=False,
            began=parent.began,
        )
        key, partition = self._names.place(parent.key)
        await self._appender.append(
            [Outgoing(self._names.run_events, key, codec.incoming.encode(told), partition=partition)]
        )

    async def _refuse(self, record: Record, error: BelugaError) -> None:
        log.warning(
            "refused a record: %s",
            error,
            extra={"action": "dead_letter", "topic": record.topic, "offset": record.offset},
        )
        letter = await dead_letter(self._names.dead_letters, record, error, self._payloads)
        await self._appender.append([letter])

    def _is_away(self, error: BelugaError, task: "asyncio.Task[None]") -> None:
        if not self._waiting:
            log.warning(
                "durable graphs wait: %s. What is asked of them is kept, and done when it answers",
                error,
                extra={"action": "workflows_away"},
            )
        self._waiting.add(task)

    def _is_back(self, task: "asyncio.Task[None]") -> None:
        """It was answered, be it by a refusal. When no other waits any more, all of it is over."""
        if task in self._waiting and len(self._waiting) == 1:
            log.warning("durable graphs go on: Temporal answers again", extra={"action": "workflows_back"})
        self._waiting.discard(task)


def _unforeseen(request: WorkflowRequest, error: Exception) -> BelugaError:
    return BelugaError(
        f"a {request.type} of run {request.run} was given up after {_TRIES} tries, an error of the engine: "
        f"{type(error).__name__}: {error}: the log of the role `workflows` has its traceback; retry the run",
        run=request.run,
    )
