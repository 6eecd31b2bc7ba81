"""Every error the engine raises, in one tree. Each says what happened, whose fault it is and what to do.

docs/errors.md is generated from this file.

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
│   ├── Tampered             tampered                 an encrypted value that its key does not open
│   └── UnknownVersion       unknown_version          a record of a version that this engine does not know
├── NotFound                 not_found                an unknown graph, run, node or topic
│   ├── TopicMissing
│   └── Expired              expired                  it was there, and is kept no longer
├── InvalidState             invalid_state            not possible in the state things are in
│   ├── RunRejected                                   a start that was refused, with the reason
│   ├── IdempotencyConflict  idempotency_conflict     the same key with another payload
│   └── CodeMissing          code_missing             the deployed code lacks the node, or does not fit the workflow
│       └── WorkflowDeadlock workflow_deadlock        a workflow's class holds its worker up
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
├── EngineStopped            engine_stopped           the engine that a command has started has ended
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
    """Base of all. `code` is stable and goes over the wire; `retryable` says whether trying again can help.

    Whose fault: the engine's: a defect. To do: report it, with the log of the process.
    """

    code: str = "internal"
    retryable: bool = False

    def __init__(self, message: str, /, **ids: object) -> None:
        super().__init__(message)
        self.message = message
        self.ids: Mapping[str, str] = {name: str(value) for name, value in ids.items() if value is not None}

    def __str__(self) -> str:
        return self.message


class InvalidConfig(BelugaError):
    """A setting, file or definition is wrong.

    Whose fault: the deployment's. To do: mend what the message names, and start again.
    """

    code = "invalid_config"


class InvalidGraph(InvalidConfig):
    """A graph that cannot run. Names the node and the fix.

    Whose fault: who wrote the graph. To do: change the node or edge that the message names, as it says.
    """


class InvalidDeployment(InvalidConfig):
    """A file in agents/ or topics/ does not load. Names file and line.

    Whose fault: who deployed it. To do: mend the file at the line that the message names; `beluga graph validate`
    checks it without a broker.
    """


class TopicMismatch(InvalidConfig):
    """A topic exists with other partitions than declared, or was recreated under the engine.

    Whose fault: who created or changed the topic. To do: declare what is there, or take new topics by another
    `BELUGA_PREFIX`.
    """


class AccessDenied(InvalidConfig):
    """The broker refuses the login, the certificate, or a right that this process needs. Names it.

    Whose fault: who set up the login or the rights. To do: `beluga acls ROLE` prints the rights of a role; over
    HTTP, send a token that has the scope.
    """

    code = "access_denied"


class KeyMissing(InvalidConfig):
    """A value is encrypted with a key that this process does not have. Names the key; another process may have it.

    Whose fault: the deployment's: not every process has the same keys. To do: give the process the key that the
    message names, then retry the run.
    """

    code = "key_missing"
    retryable = True


class InvalidInput(BelugaError):
    """A value fails its type.

    Whose fault: the caller's, or whoever published the event. To do: send a value that fits the type that the
    message names.
    """

    code = "invalid_input"


class NotSerializable(InvalidInput):
    """A handler's value cannot become JSON, or its JSON is read as another model of the same union.

    Whose fault: the handler's. To do: return something that its annotation turns into JSON: a model, a dataclass,
    plain values; give models that look alike a field that tells them apart.
    """


class RecordTooLarge(InvalidInput):
    """A record is above the limit; nothing was sent.

    Whose fault: the caller's, or the handler's. To do: put the value where the graph can fetch it, or send less at
    once.
    """


class Tampered(InvalidInput):
    """An encrypted value that its key does not open: altered, or moved to another run.

    Whose fault: whoever altered or moved the value. To do: find out who writes to the topics or the blob store;
    start a new run.
    """

    code = "tampered"


class UnknownVersion(InvalidInput):
    """A record of a version that this engine does not know.

    Whose fault: who upgraded one process and not the other. To do: upgrade this process, then `beluga dead-letters
    replay`.
    """

    code = "unknown_version"


class NotFound(BelugaError):
    """An unknown graph, run, node or topic.

    Whose fault: the caller's; or a deploy is missing. To do: check the name or id; a graph is known once a worker
    has published it.
    """

    code = "not_found"


class TopicMissing(NotFound):
    """The topic does not exist on the broker: `beluga topics apply` creates it.

    Whose fault: the deployment's. To do: `beluga topics apply`.
    """


class Expired(NotFound):
    """A place in a stream, or a whole stream, that retention has removed.

    Whose fault: nobody's: retention is over. To do: start a new run; keep more by `BELUGA_RETENTION_HOURS`.
    """

    code = "expired"


class InvalidState(BelugaError):
    """Not possible in the state things are in.

    Whose fault: the caller's: it came too early or too late. To do: look at the run (`beluga runs show`), and do
    what its state allows.
    """

    code = "invalid_state"


class RunRejected(InvalidState):
    """The engine refused to start the run; `reason` is a code of this tree, and `retryable` is by that code.

    Whose fault: by `reason`. To do: do as for the code in `reason`.
    """

    def __init__(self, message: str, /, *, reason: str = "invalid_state", **ids: object) -> None:
        super().__init__(message, **ids)
        self.reason = reason
        self.retryable = reason in RETRYABLE_CODES


class IdempotencyConflict(InvalidState):
    """The same idempotency key came with another payload.

    Whose fault: the caller's. To do: use another key for another input.
    """

    code = "idempotency_conflict"


class CodeMissing(InvalidState):
    """The deployed code lacks the node, or cannot go on with a workflow: it waits until a deploy brings what can.

    Whose fault: the deployment's: the workers have other code. To do: deploy the code; what waits goes on by itself.
    """

    code = "code_missing"


class WorkflowDeadlock(CodeMissing):
    """A workflow's class has held its worker up, as `time.sleep` does: it waits until a deploy brings other code.

    Whose fault: the class's. To do: wait by `asyncio` and `workflow.sleep`, put what blocks into an activity, and
    deploy it.
    """

    code = "workflow_deadlock"


class ExecutionFailed(BelugaError):
    """A handler raised.

    Whose fault: the handler's. To do: mend the handler, deploy it, and retry the run.
    """

    code = "execution_failed"


class RunFailed(ExecutionFailed):
    """A run ended as failed. `ids` name run, node and attempt; `reason` is the failure's code.

    `retryable` is by that code: a run that failed of a timeout may succeed when it is started again.

    Whose fault: by `reason`. To do: `beluga runs show` has the node's error; mend the cause, then `beluga runs
    retry` or start it again.
    """

    def __init__(self, message: str, /, *, reason: str = "execution_failed", **ids: object) -> None:
        super().__init__(message, **ids)
        self.reason = reason
        self.retryable = reason in RETRYABLE_CODES


class ProcessLost(ExecutionFailed):
    """The process that a handler ran in ended in the midst of it: killed, out of memory, or crashed.

    Whose fault: the handler's, or the machine's: often too little memory. To do: nothing at first, it is tried
    again; give the process more memory, or the node less to do.
    """

    retryable = True


class StreamBroken(ExecutionFailed):
    """What a node reads is void: its writer failed, was cancelled, or runs again.

    Raised out of the iteration over a `Stream`. The engine has then decided already what becomes of the reader: it
    begins again with the writer's next stream, or ends as its graph says.

    Whose fault: the writer's. To do: let it pass out of the iteration: the engine begins the reader again, or ends
    it.
    """

    code = "stream_broken"
    retryable = True


class Poisoned(ExecutionFailed):
    """A node's process has died with it as often as its `max_crashes` allows: it is not tried again.

    Whose fault: the handler's. To do: find what kills the process with this input; `beluga runs retry` begins anew.
    """

    code = "poisoned"


class MaxRetriesExceeded(ExecutionFailed):
    """The last attempt that the retry policy allows failed too.

    Whose fault: by its `__cause__`, the last attempt's. To do: mend that cause, or allow more attempts: `Retry(...)`.
    """

    code = "max_retries_exceeded"


class TimedOut(BelugaError, TimeoutError):
    """A deadline passed.

    Whose fault: nobody's in particular: it was too slow, or given too little time. To do: try again, or give it
    more time (`timeout=`).
    """

    code = "timeout"
    retryable = True


class TaskCanceled(BelugaError):
    """A run or node was cancelled.

    Whose fault: nobody's: somebody asked for it. To do: nothing; a cancelled run cannot be retried, start a new
    one.
    """

    code = "task_canceled"


class ResourceExhausted(BelugaError):
    """A limit is reached; try later.

    Whose fault: the load's. To do: come again later, or raise the limit that the message names.
    """

    code = "resource_exhausted"
    retryable = True


class RateLimitExceeded(ResourceExhausted):
    """Too many calls in a period; the message says when the next one may come.

    Whose fault: the load's. To do: come again when the message says.
    """

    code = "rate_limit_exceeded"


class CircuitBreakerOpen(BelugaError):
    """What a call leads to failed too often of late: nothing was called. The message says when a trial comes.

    Whose fault: the service's behind the circuit. To do: come again when the message says; look at the service.
    """

    code = "circuit_breaker_open"
    retryable = True


class EngineStopped(BelugaError):
    """The engine that `beluga dev` or `beluga demo` has started has ended by itself; its last words say why.

    Whose fault: by those words. To do: mend what they name.
    """

    code = "engine_stopped"


class DependencyFailed(BelugaError):
    """What this one needs has failed: a service, or a task that comes before it.

    Whose fault: the service's. To do: try again when it is back.
    """

    code = "dependency_failed"
    retryable = True


class StoreUnavailable(DependencyFailed):
    """A store of conversations or results does not answer. Names it; `ids` has it as `store`.

    Whose fault: the store's. To do: check that it runs and can be reached; nodes are tried again by their retry
    policy.
    """


class LogUnavailable(DependencyFailed):
    """The broker does not answer, or did not confirm in time.

    Whose fault: the broker's, or the network's. To do: check `BELUGA_BROKER` and the broker: `beluga doctor`.
    """


class Fenced(LogUnavailable):
    """Another process has claimed this partition: this one must exit.

    Whose fault: nobody's: a newer owner has taken over. To do: nothing: the process ends, and something restarts
    it.
    """

    code = "fenced"
    retryable = False


class TemporalUnavailable(LogUnavailable):
    """Temporal does not answer, or did not in time. Names the address.

    Whose fault: Temporal's, or the network's. To do: check `BELUGA_TEMPORAL_ADDRESS` and the server: `beluga
    doctor`.
    """
