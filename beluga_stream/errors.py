"""Every error the engine raises, in one tree. Each says what happened, whose fault it is and what to do.

BelugaError
├── InvalidConfig            invalid_config           a setting, file or definition is wrong
│   ├── InvalidGraph                                  a graph that cannot run; names node and fix
│   ├── InvalidDeployment                             agents/ or topics/ does not load; names file and line
│   ├── TopicMismatch                                 a topic is not as declared, or was recreated
│   ├── AccessDenied         access_denied            the broker refuses a login or a right; names it
│   └── KeyMissing           key_missing*             a value is encrypted with a key that is not here; names it
├── InvalidInput             invalid_input            a value that fails its type
│   ├── NotSerializable                               a value that cannot become JSON
│   ├── RecordTooLarge                                a record above the broker's limit
│   └── Tampered             tampered                 an encrypted value that its key does not open
├── NotFound                 not_found                an unknown graph, run, node or topic
│   ├── TopicMissing
│   └── Expired              expired                  it was there, and is kept no longer
├── InvalidState             invalid_state            not possible in the state things are in
│   ├── RunRejected                                   a start that was refused, with the reason
│   ├── IdempotencyConflict  idempotency_conflict     the same key with another payload
│   └── CodeMissing          code_missing             the deployed code lacks the node
├── ExecutionFailed          execution_failed         a handler raised
│   ├── RunFailed                                     a run ended as failed; names node and attempt
│   ├── ProcessLost                                   its process died; another attempt may help
│   ├── StreamBroken         stream_broken*           who writes a stream failed or runs again
│   ├── Poisoned             poisoned                 its process died with it too often
│   └── MaxRetriesExceeded   max_retries_exceeded     the last attempt failed too
├── TimedOut                 timeout*                 a deadline passed
├── TaskCanceled             task_canceled            a run or node was cancelled
├── ResourceExhausted        resource_exhausted*      a limit is reached; try later
│   └── RateLimitExceeded    rate_limit_exceeded*     too many calls in a period
├── CircuitBreakerOpen       circuit_breaker_open*    what it leads to failed too often of late
└── DependencyFailed         dependency_failed*       what this one needs has failed
    ├── StoreUnavailable                              a store of memories or results does not answer; names it
    └── LogUnavailable                                the broker does not answer
        ├── Fenced           fenced                   another process owns the partition now
        └── TemporalUnavailable                       Temporal does not answer

(*) retryable: the same call may succeed later.
"""

from collections.abc import Mapping

RETRYABLE_CODES = frozenset(
    {
        "timeout",
        "resource_exhausted",
        "rate_limit_exceeded",
        "circuit_breaker_open",
        "dependency_failed",
        "key_missing",
    }
)
"""Codes of what may succeed later, for errors that tell of another one by its code."""


class BelugaError(Exception):
    """Base of all. `code` is stable and goes over the wire; `retryable` says whether trying again can help."""

    code: str = "internal"
    retryable: bool = False

    def __init__(self, message: str, /, **ids: object) -> None:
        super().__init__(message)
        self.message = message
        self.ids: Mapping[str, str] = {name: str(value) for name, value in ids.items() if value is not None}

    def __str__(self) -> str:
        return self.message


class InvalidConfig(BelugaError):
    """A setting, file or definition is wrong. The fault is in the deployment."""

    code = "invalid_config"


class InvalidGraph(InvalidConfig):
    """A graph that cannot run. Names the node and the fix."""


class InvalidDeployment(InvalidConfig):
    """A file in agents/ or topics/ does not load. Names file and line."""


class TopicMismatch(InvalidConfig):
    """A topic exists with other partitions than declared, or was recreated under the engine."""


class AccessDenied(InvalidConfig):
    """The broker refuses the login, the certificate, or a right that this process needs. Names it."""

    code = "access_denied"


class KeyMissing(InvalidConfig):
    """A value is encrypted with a key that this process does not have. Names the key; another process may have it."""

    code = "key_missing"
    retryable = True


class InvalidInput(BelugaError):
    """A value fails its type. The fault is the caller's or the producer's."""

    code = "invalid_input"


class NotSerializable(InvalidInput):
    """A handler's value cannot become JSON."""


class RecordTooLarge(InvalidInput):
    """A record is above the limit; nothing was sent."""


class Tampered(InvalidInput):
    """An encrypted value that its key does not open: altered, or moved to another run."""

    code = "tampered"


class NotFound(BelugaError):
    """An unknown graph, run, node or topic."""

    code = "not_found"


class TopicMissing(NotFound):
    """The topic does not exist on the broker: `beluga topics apply` creates it."""


class Expired(NotFound):
    """A place in a stream, or a whole stream, that retention has removed."""

    code = "expired"


class InvalidState(BelugaError):
    """Not possible in the state things are in."""

    code = "invalid_state"


class RunRejected(InvalidState):
    """The engine refused to start the run; `reason` is a code of this tree, and `retryable` is by that code."""

    def __init__(self, message: str, /, *, reason: str = "invalid_state", **ids: object) -> None:
        super().__init__(message, **ids)
        self.reason = reason
        self.retryable = reason in RETRYABLE_CODES


class IdempotencyConflict(InvalidState):
    """The same idempotency key came with another payload."""

    code = "idempotency_conflict"


class CodeMissing(InvalidState):
    """The deployed code lacks the node; the run is parked until a deploy brings it."""

    code = "code_missing"


class ExecutionFailed(BelugaError):
    """A handler raised."""

    code = "execution_failed"


class RunFailed(ExecutionFailed):
    """A run ended as failed. `ids` name run, node and attempt; `reason` is the failure's code.

    `retryable` is by that code: a run that failed of a timeout may succeed when it is started again.
    """

    def __init__(self, message: str, /, *, reason: str = "execution_failed", **ids: object) -> None:
        super().__init__(message, **ids)
        self.reason = reason
        self.retryable = reason in RETRYABLE_CODES


class ProcessLost(ExecutionFailed):
    """The process that a handler ran in ended in the midst of it: killed, out of memory, or crashed."""

    retryable = True


class StreamBroken(ExecutionFailed):
    """What a node reads is void: its writer failed, was cancelled, or runs again.

    Raised out of the iteration over a `Stream`. The engine has then decided already what becomes of the reader: it
    begins again with the writer's next stream, or ends as its graph says.
    """

    code = "stream_broken"
    retryable = True


class Poisoned(ExecutionFailed):
    """A node's process has died with it as often as its `max_crashes` allows: it is not tried again."""

    code = "poisoned"


class MaxRetriesExceeded(ExecutionFailed):
    """The last attempt that the retry policy allows failed too."""

    code = "max_retries_exceeded"


class TimedOut(BelugaError, TimeoutError):
    """A deadline passed."""

    code = "timeout"
    retryable = True


class TaskCanceled(BelugaError):
    """A run or node was cancelled."""

    code = "task_canceled"


class ResourceExhausted(BelugaError):
    """A limit is reached; try later."""

    code = "resource_exhausted"
    retryable = True


class RateLimitExceeded(ResourceExhausted):
    """Too many calls in a period; the message says when the next one may come."""

    code = "rate_limit_exceeded"


class CircuitBreakerOpen(BelugaError):
    """What a call leads to failed too often of late: nothing was called. The message says when a trial comes."""

    code = "circuit_breaker_open"
    retryable = True


class DependencyFailed(BelugaError):
    """What this one needs has failed: a service, or a task that comes before it."""

    code = "dependency_failed"
    retryable = True


class StoreUnavailable(DependencyFailed):
    """A store of conversations or results does not answer. Names it; `ids` has it as `store`."""


class LogUnavailable(DependencyFailed):
    """The broker does not answer, or did not confirm in time."""


class Fenced(LogUnavailable):
    """Another process has claimed this partition: this one must exit."""

    code = "fenced"
    retryable = False


class TemporalUnavailable(LogUnavailable):
    """Temporal does not answer, or did not in time. Names the address."""
