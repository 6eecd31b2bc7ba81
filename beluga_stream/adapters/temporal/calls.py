"""Calls to Temporal's server, with its errors as ours."""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowHandle,
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
    ResourceExhausted,
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

MOST_BYTES = 2 * 1024 * 1024
"""What a value may have that a workflow keeps. A call may have twice as much."""

CALL = timedelta(seconds=10)
"""How long a call to the server may take, its retries among them."""

_HEALTH = timedelta(seconds=5)
"""How long it may take to say how it is: whoever asks has a patience of their own, of ten seconds."""

_UNKNOWN = "expected but not found"
"""What the SDK says of a handler that is not there; it tells by its words alone."""

_SEALED = "Encoded failure"
"""And in the place of a message that is a value, too."""

_METADATA = "__temporal_workflow_metadata"
"""The query that tells what there is to be asked."""

_REFUSED = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
_LATE = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


async def called(call: Awaitable[T], what: str, workflow: str) -> T:
    """The answer to a call. Raises as `translated`."""
    with translated(what, workflow):
        return await call


async def queried(
    client: Client, handle: WorkflowHandle[Any, Any], name: str, query: Awaitable[T], *, workflow: str
) -> T:
    """The answer to a query. Raises as `translated`."""
    what = f"query {name!r} of"
    with translated(what, workflow):
        try:
            return await query
        except WorkflowQueryFailedError as error:
            raise _answered(await _said(client, handle, name, error), what, workflow) from error


async def _said(client: Client, handle: WorkflowHandle[Any, Any], name: str, error: WorkflowQueryFailedError) -> str:
    """What the query raised. With a cipher that is sealed, and not every server hands it on."""
    refused = error.__context__
    for detail in refused.grpc_status.details if isinstance(refused, RPCError) else ():
        told = QueryFailedFailure()
        if detail.Unpack(told) and told.HasField("failure"):
            return str(await client.data_converter.decode_failure(told.failure))
    if str(error) != _SEALED:
        return str(error)
    known = await handle.query(_METADATA, result_type=WorkflowMetadata, rpc_timeout=CALL)
    if name in {each.name for each in known.definition.query_definitions}:
        return "it raised an error that is encrypted, and that this server does not hand on"
    return f"query handler for {name!r} {_UNKNOWN}"


async def check_size(client: Client, values: Sequence[Any], what: str, workflow: str) -> None:
    """Raises `InvalidInput` for values that the server takes, and that its workflow would stand still with."""
    size = sum(payload.ByteSize() for payload in await client.data_converter.encode(values))
    if size > MOST_BYTES:
        raise InvalidInput(
            f"{what} workflow {workflow}: {size} bytes are too many, Temporal keeps {MOST_BYTES} at most: hand over "
            f"where the value is, or less at once",
            workflow=workflow,
        )


@contextmanager
def translated(what: str, workflow: str) -> Iterator[None]:
    """Raise errors of the server as ours.

    They are `NotFound`, `AccessDenied`, `InvalidInput`, `ExecutionFailed`, `CodeMissing`, `ResourceExhausted` and
    `TemporalUnavailable`.
    """
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
    if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
        if "larger than max" in error.message:
            return InvalidInput(f"{message}: hand over where the value is, or less at once", workflow=workflow)
        return ResourceExhausted(message, workflow=workflow)
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
    said = str(deepest or error)
    if isinstance(deepest, ApplicationError) and deepest.type:
        said = f"{deepest.type}: {deepest.message}"
    return RunFailed(f"workflow {workflow} failed: {said}", workflow=workflow)


def _late(what: str, workflow: str) -> TemporalUnavailable:
    return TemporalUnavailable(
        f"{what} workflow {workflow}: there was no answer in time, and it may be done all the same: is Temporal there, "
        f"and a worker of its task queue?",
        workflow=workflow,
    )


def _answered(message: str, what: str, workflow: str) -> BelugaError:
    """A handler that is not there, or that raised, or is not reached."""
    if _NON_DETERMINISM in message:
        return stalled(workflow, message)
    kind = NotFound if _UNKNOWN in message else ExecutionFailed
    return kind(f"{what} workflow {workflow}: {message}", workflow=workflow)


def stalled(workflow: str, why: str, *, too_large: bool = False) -> CodeMissing:
    """What is told of a workflow that its worker cannot go on with. `why` is Temporal's own message."""
    if too_large:
        return CodeMissing(
            f"workflow {workflow} stands still, since something that it keeps or answers is too large for Temporal: "
            f"{why}; it goes on when workers have code that makes it smaller; or terminate it",
            workflow=workflow,
        )
    kind = WorkflowDeadlock if _DEADLOCK in why else CodeMissing
    return kind(
        f"workflow {workflow} stands still, since its worker's code cannot go on with it: {why}; it goes on when "
        f"workers have code that can, as that which it began with; or terminate it",
        workflow=workflow,
    )


async def check_health(client: Client) -> None:
    """Raises `TemporalUnavailable` when the server does not answer, or is not well."""
    if not await called(client.service_client.check_health(timeout=_HEALTH), "check", "service"):
        raise TemporalUnavailable("Temporal answers, and says that it does not serve: see its own log")
