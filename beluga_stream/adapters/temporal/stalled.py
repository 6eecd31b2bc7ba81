"""Workflows that stand still since their workers cannot go on with them: how that is seen, and told to whoever waits.

Temporal holds such a workflow and has it tried again for ever, so that a deployment can mend it. Nothing of it comes to
whoever waits for its result or an answer; it is in its history only.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client

from ...errors import BelugaError, CodeMissing, TemporalUnavailable
from .calls import CALL, called, stalled

_FIRST_LOOK_SECONDS = 1.0
_LOOK_SECONDS = 20.0
"""As often as the SDK asks anew for a workflow's end."""

_EVENTS = 20
"""Of so many of the last events one tells of a worker: what is asked of it makes the others."""

_PASSING = frozenset(
    {
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_UPDATE,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FAILOVER_CLOSE_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED,
    }
)
"""The server's own reasons to have a task done again: the next worker goes on. Any other is the workflow's."""

_TOO_LARGE = frozenset(
    {
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PAYLOADS_TOO_LARGE,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_REQUEST_TOO_LARGE,
    }
)

T = TypeVar("T")


class _Failed(NamedTuple):
    """The event that tells of a task that failed, and what it tells."""

    event: int
    cause: int
    failure: Failure


async def awaited(client: Client, workflow_id: str, answer: Coroutine[Any, Any, T]) -> T:
    """What a workflow gives or answers, however long that takes.

    Raises as `answer` does, `CodeMissing` when the workflow stands still, and `TemporalUnavailable` when the server
    says nothing of it for as long as a call may take.
    """
    # The SDK takes the cancel of an update for an error of the server: so it is never cancelled with its caller.
    answering = asyncio.create_task(answer, name="beluga-answer")
    try:
        seen, pause, patience = None, _FIRST_LOOK_SECONDS, None
        while True:
            await asyncio.wait({answering}, timeout=pause)
            if answering.done():
                return answering.result()
            asked = time.monotonic()
            try:
                found, patience = await _failed_task(client, workflow_id), None
            except TemporalUnavailable:
                found, patience = None, patience or asked + CALL.total_seconds()
                if time.monotonic() + _FIRST_LOOK_SECONDS >= patience:
                    raise
            except BelugaError:
                found = None  # whoever waits is told by what it waits for
            # Seen once, it may be on its way to another worker, whose code goes on with it.
            if found is not None and found == seen:
                raise await _stalled(client, workflow_id, found)
            is_quiet = found is None and patience is None
            pause = min(2 * pause, _LOOK_SECONDS) if is_quiet else _FIRST_LOOK_SECONDS
            seen = found
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def _failed_task(client: Client, workflow_id: str) -> _Failed | None:
    """How the last worker to try has failed; None when it has not."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id),
        maximum_page_size=_EVENTS,
    )
    asked = client.workflow_service.get_workflow_execution_history_reverse(request, timeout=CALL)
    for event in (await called(asked, "look at", workflow_id)).history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return None
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            return None if failed.cause in _PASSING else _Failed(event.event_id, failed.cause, failed.failure)
    return None


async def _stalled(client: Client, workflow_id: str, failed: _Failed) -> CodeMissing:
    why = str(await client.data_converter.decode_failure(failed.failure))
    return stalled(workflow_id, why, too_large=failed.cause in _TOO_LARGE)
