"""Calls to Temporal's server, with its errors as ours."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, ChildWorkflowError, TerminatedError
from temporalio.exceptions import TimeoutError as WorkflowTimeout
from temporalio.service import RPCError, RPCStatusCode

from ...errors import (
    AccessDenied,
    BelugaError,
    CodeMissing,
    ExecutionFailed,
    InvalidInput,
    NotFound,
    RunFailed,
    TaskCanceled,
    TemporalUnavailable,
    TimedOut,
    WorkflowDeadlock,
)

T = TypeVar("T")

_NON_DETERMINISM = "[TMPRL1100]"
"""Temporal's number of the error that history and code do not fit each other."""

_DEADLOCK = "[TMPRL1101]"
"""And of the one that a workflow's code did not let go of its worker in time."""

CALL = timedelta(seconds=10)
"""How long a call to the server may take, its retries among them."""

_REFUSED = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
_LATE = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


async def called(call: Awaitable[T], what: str, workflow: str) -> T:
    """The answer to a call. Raises as `translated`."""
    with translated(what, workflow):
        return await call


@contextmanager
def translated(what: str, workflow: str) -> Iterator[None]:
    """Raise `NotFound`, `AccessDenied`, `InvalidInput`, `ExecutionFailed`, `CodeMissing` or `TemporalUnavailable`."""
    try:
        yield
    except RPCError as error:
        raise told(error, what, workflow) from error
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise _answered(str(error), what, workflow) from error
    except WorkflowUpdateFailedError as error:
        raise _answered(str(error.cause), what, workflow) from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise _late(what, workflow) from error


def told(error: RPCError, what: str, workflow: str) -> BelugaError:
    """The error of our tree that this one is."""
    message = f"{what} workflow {workflow}: {error.message}"
    if error.status is RPCStatusCode.NOT_FOUND and _lacks_namespace(error):
        return TemporalUnavailable(f"{message}: set BELUGA_TEMPORAL_NAMESPACE, or create it", workflow=workflow)
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound(message, workflow=workflow)
    if error.status in _REFUSED:
        return AccessDenied(f"{message}: BELUGA_TEMPORAL_API_KEY, or the client's certificate, lacks the right")
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return InvalidInput(message, workflow=workflow)
    return _late(what, workflow) if error.status in _LATE else TemporalUnavailable(message, workflow=workflow)


def _lacks_namespace(error: RPCError) -> bool:
    """Whether it is not the workflow that is missing: nothing may be concluded about that then."""
    return any(each.type_url.endswith("NamespaceNotFoundFailure") for each in error.grpc_status.details)


def failed(error: WorkflowFailureError | WorkflowContinuedAsNewError, workflow: str) -> BelugaError:
    """How a workflow has ended that has no result."""
    cause = error.cause
    if isinstance(cause, TerminatedError):
        return TaskCanceled(f"workflow {workflow} was terminated: {cause.message}", workflow=workflow)
    if isinstance(cause, CancelledError):
        return TaskCanceled(f"workflow {workflow} was cancelled", workflow=workflow)
    if isinstance(cause, WorkflowTimeout):
        return TimedOut(f"workflow {workflow} did not end in time: {cause.message}", workflow=workflow)
    deepest: BaseException | None = cause
    while isinstance(deepest, ActivityError | ChildWorkflowError) and deepest.cause is not None:
        deepest = deepest.cause
    kind = deepest.type if isinstance(deepest, ApplicationError) else None
    said = f"{kind}: {deepest}" if kind else str(deepest or error)
    return RunFailed(f"workflow {workflow} failed: {said}", workflow=workflow)


def _late(what: str, workflow: str) -> TemporalUnavailable:
    return TemporalUnavailable(
        f"{what} workflow {workflow}: there was no answer in time: is Temporal there, and a worker of its task queue?",
        workflow=workflow,
    )


def _answered(message: str, what: str, workflow: str) -> BelugaError:
    """A handler that is not there, or that raised, or is not reached. The SDK tells them apart by its words alone."""
    if _NON_DETERMINISM in message:
        return stalled(workflow, message)
    kind = NotFound if "expected but not found" in message else ExecutionFailed
    return kind(f"{what} workflow {workflow}: {message}", workflow=workflow)


def stalled(workflow: str, why: str) -> CodeMissing:
    """What is told of a workflow with which its worker's code cannot go on. `why` is Temporal's own message."""
    kind = WorkflowDeadlock if _DEADLOCK in why else CodeMissing
    return kind(
        f"workflow {workflow} stands still, since its worker's code cannot go on with it: {why}; it goes on when "
        f"workers have code that can, as that which it began with; or terminate it",
        workflow=workflow,
    )


async def check_health(client: Client) -> None:
    """Raises `TemporalUnavailable` when the server does not answer, or is not well."""
    if not await called(client.service_client.check_health(timeout=CALL), "check", "service"):
        raise TemporalUnavailable("Temporal answers, and says that it does not serve: see its own log")
