"""Calls to Temporal's server, with its errors as ours."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from temporalio.service import RPCError, RPCStatusCode

from ...errors import AccessDenied, BelugaError, InvalidInput, NotFound, TemporalUnavailable

T = TypeVar("T")

_REFUSED = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})


@contextmanager
def translated(what: str, workflow: str) -> Iterator[None]:
    """Raise for a failed call: `NotFound`, `AccessDenied`, `InvalidInput` or `TemporalUnavailable`."""
    try:
        yield
    except RPCError as error:
        raise told(error, what, workflow) from error


def told(error: RPCError, what: str, workflow: str) -> BelugaError:
    """The error of our tree that this one is."""
    message = f"{what} workflow {workflow}: {error.message}"
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound(message, workflow=workflow)
    if error.status in _REFUSED:
        return AccessDenied(f"{message}: BELUGA_TEMPORAL_API_KEY, or the client's certificate, lacks the right")
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return InvalidInput(message, workflow=workflow)
    return TemporalUnavailable(message, workflow=workflow)


async def called(call: Awaitable[T], what: str, workflow: str) -> T:
    """The answer to a call. Raises as `translated`."""
    with translated(what, workflow):
        return await call
