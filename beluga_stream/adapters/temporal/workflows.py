"""The port `Workflows` over Temporal: a durable run is a workflow of the interpreter whose id is the run's."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from ...application.durable.pinned import Find, closure
from ...application.durable.standing import Standing
from ...application.topics import Topics
from ...bounds import within
from ...domain.events import CancelRequested, Parent, RetryRequested, RunRequested, SignalReceived
from ...domain.ids import NodeKey, RunId
from ...domain.state import RunStatus
from ...errors import InvalidState, NotFound, TemporalUnavailable
from ...ports.spans import NO_SPANS, Spans
from ...ports.workflows import WorkflowState
from . import envelopes
from .beginning import beginning_of
from .calls import CALL, called, translated
from .envelopes import Ended, Start, Told
from .queues import told_queue

STATES: Mapping[WorkflowExecutionStatus, WorkflowState] = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "running",
    WorkflowExecutionStatus.COMPLETED: "succeeded",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


class TemporalWorkflows:
    """See the port. `find` knows the definitions; the topics are those that the runs tell of themselves in.

    `connect` gives the client when it is first needed, and raises `TemporalUnavailable` while there is none. Where a
    worker of the task queue has the same client, the server gives it the first task with the answer to a start. With
    `spans` that go somewhere, the workers of the task queue tell those of the runs.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]],
        topics: Topics,
        find: Find,
        *,
        task_queue: str,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._connect = connect
        self._topics = topics
        self._find = find
        self._task_queue = told_queue(task_queue)
        self._spans = spans
        self._connected: Client | None = None

    async def start(self, request: RunRequested) -> None:
        definitions = closure(request, self._find)
        start = Start(
            definitions=definitions,
            prefix=self._topics.prefix,
            partitions=self._topics.partitions,
            event=request,
            parent=request.parent,
            spans=self._spans.on,
        )
        try:
            await self._start(request.run, start, request.graph, WorkflowIDReusePolicy.REJECT_DUPLICATE)
        except WorkflowAlreadyStartedError:
            if (earlier := await self._earlier(request)) is not None:
                await self._start_again(request, start, earlier)

    async def signal(self, event: SignalReceived) -> None:
        if not await self._is_ours(event.run, event.key):
            raise NotFound(f"the start of run {event.run} was refused: another workflow has its id", run=event.run)
        handle = (await self._client()).get_workflow_handle(str(event.run))
        await called(handle.signal(envelopes.SIGNAL, Told(event), rpc_timeout=CALL), f"{event.signal!r} for", event.run)

    async def cancel(self, event: CancelRequested) -> None:
        handle = (await self._client()).get_workflow_handle(str(event.run))
        try:
            if not await self._is_ours(event.run, event.key):
                return
            await called(handle.cancel(reason=event.reason, rpc_timeout=CALL), "cancel", event.run)
        except NotFound:
            return

    async def retry(self, event: RetryRequested) -> None:
        """See the port. Raises `InvalidState` for a run that cannot go on: it was undone, or has not failed."""
        before = await self._given(event.run)
        if before is None:
            raise _foreign(event.run)
        ended = await self._failed(event.run)
        if ended is None:
            return
        if ended.carried is None and ended.stored is None:
            raise InvalidState(f"run {event.run} was undone and cannot go on: start another", run=event.run)
        start = msgspec.structs.replace(before, event=event, carried=ended.carried, stored=ended.stored)
        try:
            await self._start(event.run, start, "", WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
        except WorkflowAlreadyStartedError:
            return

    async def describe(self, run: RunId) -> WorkflowState:
        handle = (await self._client()).get_workflow_handle(str(run))
        try:
            described = await called(handle.describe(rpc_timeout=CALL), "describe", run)
        except NotFound:
            return "unknown"
        if described.status is None or described.workflow_type != envelopes.INTERPRETER:
            return "unknown"
        return STATES.get(described.status, "unknown")

    async def close(self) -> None:
        self._connected = None  # the SDK closes its connection with the client

    async def _client(self) -> Client:
        if self._connected is None:
            self._connected = await self._connect()
        return self._connected

    async def _start(self, run: RunId, start: Start, graph: str, reuse: WorkflowIDReusePolicy) -> None:
        client = await self._client()
        with translated("start", run):
            await client.start_workflow(
                envelopes.INTERPRETER,
                start,
                id=str(run),
                task_queue=self._task_queue,
                id_reuse_policy=reuse,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=graph or None,
                request_eager_start=True,
                rpc_timeout=CALL,
            )

    async def _given(self, run: RunId) -> Start | None:
        """What the workflow with the run's id was started with; None for another kind of workflow."""
        return (await beginning_of(await self._client(), run)).start

    async def _earlier(self, request: RunRequested) -> str | None:
        """The execution that has the id, if it was started by an earlier run of the id of the one that asks now.

        That run is forgotten. Raises `InvalidState` when the workflow is neither of this run nor of that one.
        """
        given, execution = await beginning_of(await self._client(), request.run)
        if given is None or given.prefix != self._topics.prefix:
            raise _foreign(request.run)
        parent, asking = _parent_of(given, request), request.parent
        if _node_of(parent) != _node_of(asking):
            raise _foreign(request.run)
        is_earlier = asking is not None and asking.is_after(parent)
        if not is_earlier and all(each.hash != request.definition for each in given.definitions):
            raise _foreign(request.run)
        return execution if is_earlier else None

    async def _start_again(self, request: RunRequested, start: Start, earlier: str) -> None:
        """Put it in the place of an earlier one. If that goes on, nobody wants it: whoever began it has ended.

        Raises `TemporalUnavailable` when it still has its place, or somebody else was quicker: trying again tells.
        """
        client = await self._client()
        handle = client.get_workflow_handle(str(request.run), first_execution_run_id=earlier)
        with suppress(NotFound):  # it has ended
            ended = handle.terminate(reason="a later run has its id", rpc_timeout=CALL)
            await called(ended, "terminate", request.run)
        try:
            await self._start(request.run, start, request.graph, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        except WorkflowAlreadyStartedError as error:
            raise TemporalUnavailable(f"workflow {request.run} does not give way", workflow=request.run) from error

    async def _is_ours(self, run: RunId, key: str) -> bool:
        """Whether the workflow that has the run's id was started for it. Raises `NotFound` when there is none."""
        given = await self._given(run)
        return given is not None and given.prefix == self._topics.prefix and _is_asked_by(given, key)

    async def _failed(self, run: RunId) -> Ended | None:
        """How the run has failed; None while it goes on. Raises `NotFound` and `InvalidState`."""
        state = await self.describe(run)
        if state == "unknown":
            raise NotFound(f"there is no durable run {run}", run=run)
        handle = (await self._client()).get_workflow_handle(str(run), result_type=Ended)
        if state == "running":
            asked = handle.query(envelopes.STATE, result_type=Standing, rpc_timeout=CALL)
            if (await called(asked, "retry", run)).status != RunStatus.FAILED:
                return None
        elif state != "failed":
            raise InvalidState(f"run {run} has {state}: only one that has failed can go on", run=run)
        try:
            with translated("retry", run):
                async with within(CALL.total_seconds()):
                    await handle.result()
        except TimeoutError as error:  # it has failed, and its workflow has still to end
            raise TemporalUnavailable(f"workflow {run} does not end", workflow=run) from error
        except WorkflowFailureError as error:
            return ended_of(error)
        return None


def _parent_of(given: Start, request: RunRequested) -> Parent | None:
    """Whose node has asked for it. Earlier versions told that by the event, and in later executions not at all."""
    by_event = given.event.parent if isinstance(given.event, RunRequested) else request.parent
    return by_event if given.parent is None else given.parent


def _node_of(parent: Parent | None) -> tuple[RunId, str, NodeKey] | None:
    return None if parent is None else (parent.run, parent.key, parent.node)


def _is_asked_by(given: Start, key: str) -> bool:
    """Whether it was started for a run of this key. An earlier version's later executions do not tell."""
    keys = {asked.key for asked in (given.event, given.parent) if asked is not None}
    return not keys or key in keys


def _foreign(run: RunId) -> InvalidState:
    return InvalidState(
        f"Temporal has a workflow with the id {run} that was not started for this run: whoever started it must give "
        f"it another id; two engines that have the same events need a namespace each",
        run=run,
    )


def ended_of(error: WorkflowFailureError) -> Ended | None:
    """What the interpreter says of a run that has failed; None for another workflow's error."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        with suppress(msgspec.ValidationError):
            return msgspec.convert(cause.details[0], Ended)
    return None
