"""Workflows that stand still since their workers cannot go on with them: how that is seen, and told to who waits.

Temporal holds such a workflow and has it tried again for ever, so that a deployment can mend it. Nothing of it comes to
whoever waits for its result; it is in its history only.
"""

import asyncio
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowHandle

from ...errors import BelugaError, CodeMissing
from .calls import CALL, called, stalled

_FIRST_LOOK_SECONDS = 1.0
_LOOK_SECONDS = 20.0
"""As often as the SDK asks anew for a workflow's end."""

_EVENTS = 20
"""Of so many of the last events one tells of a worker: what is asked of it makes the others."""

_ITS_CODE = frozenset(
    {
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
    }
)


async def result_of(client: Client, handle: WorkflowHandle[Any, Any]) -> Any:
    """The workflow's result. Raises as `WorkflowHandle.result`, and `CodeMissing` when it stands still."""
    ending = asyncio.create_task(handle.result(), name="beluga-result")
    try:
        seen, pause = None, _FIRST_LOOK_SECONDS
        while True:
            await asyncio.wait({ending}, timeout=pause)
            if ending.done():
                return ending.result()
            found = await _look(client, handle.id)
            # Seen once, it may be on its way to another worker, whose code goes on with it.
            if found is not None and found == seen:
                raise await _stalled(client, handle.id, found[1])
            pause = min(2 * pause, _LOOK_SECONDS) if found is None else _FIRST_LOOK_SECONDS
            seen = found
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


async def stall_of(client: Client, workflow_id: str) -> CodeMissing | None:
    """Why a workflow does not answer; None when its code is not the reason."""
    found = await _look(client, workflow_id)
    return None if found is None else await _stalled(client, workflow_id, found[1])


async def _look(client: Client, workflow_id: str) -> tuple[int, Failure] | None:
    """How the last worker to try has failed, and which event tells; None when it has not, or nobody says."""
    try:
        return await _failed_task(client, workflow_id)
    except BelugaError:
        return None  # whoever waits is told by what it waits for


async def _failed_task(client: Client, workflow_id: str) -> tuple[int, Failure] | None:
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
            return (event.event_id, failed.failure) if failed.cause in _ITS_CODE else None
    return None


async def _stalled(client: Client, workflow_id: str, failure: Failure) -> CodeMissing:
    return stalled(workflow_id, str(await client.data_converter.decode_failure(failure)))
