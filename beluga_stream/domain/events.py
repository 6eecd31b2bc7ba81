"""What has happened to a run: the reducer's only input. Past tense, frozen, and their own wire form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from .ids import GraphHash, Incarnation, NodeKey, NodeName, RunId
from .payload import Payload


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed. `code` is one of the error tree's; `message` is for people."""

    code: str
    message: str
    node: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """Who started this run as a part of its own."""

    run: RunId
    key: str
    node: NodeKey


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a large map: the run does these items of this node, and nothing else."""

    node: NodeName
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequested:
    """Somebody wants a run. `digest` is the input's, so that a reused key with another payload is seen."""

    run: RunId
    key: str
    at_ms: int
    graph: str
    definition: GraphHash | None = None
    input: Payload
    digest: str
    trigger: str = "api"
    tags: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None
    parent: Parent | None = None
    page: Page | None = None
    type: Literal["run_requested"] = "run_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted:
    """A node runs longer than a moment: its worker holds it by a lease from now on."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    worker: str
    type: Literal["node_started"] = "node_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStreaming:
    """A streaming node's first chunk is durable, at this place of `beluga.run-results`."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    partition: int
    offset: int
    type: Literal["node_streaming"] = "node_streaming"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSucceeded:
    """A handler is done. `branches` are the conditions that held; `chunks` how many were emitted."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    output: Payload
    branches: tuple[int, ...] = ()
    chunks: int | None = None
    done: bool = True  # of a loop pass: `until` held
    type: Literal["node_succeeded"] = "node_succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed:
    """A handler raised, timed out, or gave what its type forbids. Its worker judged whether to retry."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    failure: Failure
    retryable: bool
    type: Literal["node_failed"] = "node_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParked:
    """A worker took the node and its deployed code has no such node."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    type: Literal["node_parked"] = "node_parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseExpired:
    """The worker that held the node has not been heard of."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    type: Literal["lease_expired"] = "lease_expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A deadline in the run's state has passed. Without `node` it is the run's own."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey | None = None
    attempt: int
    due_ms: int
    type: Literal["timer_fired"] = "timer_fired"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """Somebody signalled the run. `id` makes a repeated signal harmless."""

    run: RunId
    key: str
    at_ms: int
    signal: str
    id: str
    value: Payload
    type: Literal["signal_received"] = "signal_received"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants the run to end now."""

    run: RunId
    key: str
    at_ms: int
    reason: str = ""
    type: Literal["cancel_requested"] = "cancel_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested:
    """Somebody wants a failed run to go on from its failed nodes.

    `id` makes a repeated request harmless, however late; without one `at_ms` stands for it.
    """

    run: RunId
    key: str
    at_ms: int
    id: str = ""
    type: Literal["retry_requested"] = "retry_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOverridden:
    """An operator gives a node of this run another timeout or number of attempts than its definition says.

    It holds for attempts that begin after it; None leaves a value as the definition has it.
    """

    run: RunId
    key: str
    at_ms: int
    node: NodeName
    timeout_ms: int | None = None
    attempts: int | None = None
    type: Literal["node_overridden"] = "node_overridden"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFinished:
    """A run that this run's node started has ended.

    `counter` is the child's own at its end: a child that is retried ends more than once, and an
    earlier end told again must not count as the later one. `may_go_on` is False when it has been undone, so
    that a retry of its parent must begin another.
    """

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    child: RunId
    status: Literal["succeeded", "failed", "cancelled", "rejected"]
    output: Payload | None = None
    failure: Failure | None = None
    counter: int = 0
    may_go_on: bool = True
    type: Literal["child_finished"] = "child_finished"


NodeEvent: TypeAlias = NodeStarted | NodeStreaming | NodeSucceeded | NodeFailed | NodeParked | LeaseExpired
RunEvent: TypeAlias = (
    RunRequested | TimerFired | SignalReceived | CancelRequested | RetryRequested | NodeOverridden | ChildFinished
)
Event: TypeAlias = Annotated[NodeEvent | RunEvent, Field(discriminator="type")]
