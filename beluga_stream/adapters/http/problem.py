"""Errors over HTTP: problem details (RFC 9457) with the error tree's code, message and ids, and back."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from ... import errors
from ...errors import (
    AccessDenied,
    BelugaError,
    CircuitBreakerOpen,
    DependencyFailed,
    ExecutionFailed,
    Expired,
    InvalidConfig,
    InvalidInput,
    InvalidState,
    LogUnavailable,
    NotFound,
    RecordTooLarge,
    ResourceExhausted,
    RunFailed,
    RunRejected,
    TaskCanceled,
    TimedOut,
)

log = logging.getLogger("beluga_stream.gateway")

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[BelugaError], int], ...] = (
    (RecordTooLarge, 413),
    (AccessDenied, 403),
    (InvalidConfig, 500),
    (InvalidInput, 422),
    (Expired, 410),
    (NotFound, 404),
    (InvalidState, 409),
    (ExecutionFailed, 409),
    (TaskCanceled, 409),
    (TimedOut, 504),
    (ResourceExhausted, 429),
    (CircuitBreakerOpen, 503),
    (DependencyFailed, 503),
)
"""The first that fits. A run that failed or was cancelled is a state that it is in, and no error of the gateway."""

_KINDS = tuple(kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BelugaError))
_BY_NAME = {kind.__name__: kind for kind in _KINDS}

_TRY_LATER_SECONDS = 1.0


class Problem(Exception):
    """An answer that is an error: its status, the error, and after how long to try again (seconds)."""

    def __init__(self, status: int, error: BelugaError, *, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.retry_after = retry_after

    @classmethod
    def of(cls, error: BelugaError) -> "Problem":
        """An error of the tree as an answer."""
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return cls(status, error, retry_after=_TRY_LATER_SECONDS if status in (429, 503) else None)

    @property
    def headers(self) -> dict[str, str]:
        """What the answer's headers say of it."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        if self.status == 401:  # noqa: PLR2004 - Unauthorized
            headers["WWW-Authenticate"] = 'Bearer realm="beluga"'
        return headers

    @property
    def document(self) -> dict[str, Any]:
        """The problem document. `kind` names the class of the error tree, `reason` why a run failed or was refused."""
        kind = type(self.error).__name__
        told: dict[str, Any] = {
            "type": f"urn:beluga:error:{self.error.code}",
            "title": kind,
            "status": self.status,
            "detail": self.error.message,
            "code": self.error.code,
            "ids": dict(self.error.ids),
            "retryable": self.error.retryable,
        }
        if isinstance(self.error, RunRejected | RunFailed):
            told["reason"] = self.error.reason
        return told


def problem_of(error: Exception, what: str) -> Problem:
    """An error as an answer. What is no error of the tree is a defect: it is logged, and not told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BelugaError):
        return Problem.of(error)
    log.error("a defect in %s", what, exc_info=error, extra={"action": "gateway.defect", "operation": what})
    return Problem(500, BelugaError("a defect of the gateway; its log says more"))


def error_of(status: int, document: Mapping[str, Any]) -> BelugaError:
    """The error that a problem document tells of."""
    message = str(document.get("detail") or f"the gateway answered {status}")
    given = document.get("ids")
    ids = {str(name): value for name, value in given.items()} if isinstance(given, Mapping) else {}
    kind = _BY_NAME.get(str(document.get("title"))) or _by_status(status)
    if issubclass(kind, RunRejected | RunFailed):
        return kind(message, reason=str(document.get("reason", kind.code)), **ids)
    return kind(message, **ids)


def _by_status(status: int) -> type[BelugaError]:
    """For what no gateway of ours has said: a proxy in between."""
    if status in (401, 403):
        return AccessDenied
    found = next((kind for kind, known in _STATUS if known == status), None)
    if found is not None:
        return found
    return LogUnavailable if status >= 500 else InvalidInput  # noqa: PLR2004 - a fault of the server


def error_of_code(code: str, message: str, **ids: object) -> BelugaError:
    """The error of the tree that has this code."""
    kind = next((kind for kind in _KINDS if kind.code == code), NotFound)
    return kind(message, **ids)
