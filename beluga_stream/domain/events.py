"""What has happened to a run: the reducer's only input. Past tense, frozen, and their own wire form."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from .frozen import Frozen, field
from .ids import GraphHash, Incarnation, LimitId, NodeKey, NodeName, RunId
from .limit import Limit
from .payload import Payload


class Failure(Frozen):
    """Why something failed. `code` is one of the error tree's; `message` is for people.

    `retry_after_ms` is how long what failed asks to be left alone, before another attempt.
    """

    code: str
    message: str
    node: str | None = None
    attempt: int | None = None
    retry_after_ms: int = 0


class Parent(Frozen):
    """Who started this run as a part of its own.

    `began` is when that run began (0: not told): it tells the run from an earlier one of the same id that is forgotten.
    """

    run: RunId
    key: str
    node: NodeKey
    began: int = 0

    def is_after(self, other: "Parent | None") -> bool:
        """Whether this is another run than that one, and later: what that one had started is none of its own."""
        return other is not None and 0 < other.began < self.began


class Source(Frozen):
    """A stream that goes on, by reference: the node that writes it, and where it begins in `beluga.run-results`.

    `counter`: no status of the run up to it is news. With `resume` its writer's next attempt goes on with it.
    """

    node: NodeKey
    incarnation: Incarnation
    partition: int
    offset: int
    counter: int
    resume: bool = False


class Page(Frozen):
    """A slice of a large map: the run does these items of this node, and nothing else.

    With a `stream` they are its chunks, as far as there are so many. `timeout_ms` and `attempts` are what an operator
    had given the node before the page began.
    """

    node: NodeName
    start: int
    stop: int
    stream: Source | None = None
    timeout_ms: int | None = None
    attempts: int | None = None


class Taken(Frozen):
    """How a node had ended in the run that a fork goes on from. `branches` are the conditions that held."""

    status: Literal["succeeded", "failed", "skipped", "cancelled"] = "succeeded"
    output: Payload | None = None
    branches: tuple[int, ...] = ()
    failure: Failure | None = None


class Fork(Frozen):
    """A run that goes on from another one at a node: what is `taken` over is not executed again.

    `edited` are values that the node is given instead of what its edges hand over, by parameter.
    """

    of: RunId
    node: NodeName
    taken: Mapping[NodeName, Taken] = field(default_factory=dict)
    edited: Mapping[str, Payload] = field(default_factory=dict)


class OfRun(Frozen, kw_only=True, tag_field="type"):
    """Base of what happens to a run. `key` is the record key of all its messages; times in epoch milliseconds.

    `at_ms` is when it takes place for the run: who owns the run says when (see `application/coordinator/stamping.py`).
    Until then it is what its sender's clock showed, which decides nothing.
    """

    run: RunId
    key: str
    at_ms: int

    @property
    def type(self) -> str:
        """What the JSON's member of this name holds."""
        return str(self.__struct_config__.tag)


class OfAttempt(OfRun, kw_only=True):
    """Base of what happens to one attempt of a node."""

    node: NodeKey
    attempt: int


class OfExecution(OfAttempt, kw_only=True):
    """Base of what one execution of an attempt reports.

    `generation` is the run's when the work was sent (0: not told). A run that is forgotten may begin again under its
    id, and then has other attempts of the same numbers, of a later generation.
    """

    incarnation: Incarnation
    generation: int = 0


class RunRequested(OfRun, kw_only=True, tag="run_requested"):
    """Somebody wants a run. `digest` is the input's, so that a reused key with another payload is seen.

    `keys` are the values in its input that its limits go by: a page is told them, for others the coordinator looks.
    With `again` its parent has not heard of it for long: if it has ended, it says so once more. `offset` is where it
    lies in `beluga.run-requests`, as its reader has seen. `timeout_ms` is how long whoever wants it allows it, where
    that is less than its graph does.
    """

    graph: str
    definition: GraphHash | None = None
    input: Payload
    digest: str
    trigger: str = "api"
    tags: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None
    parent: Parent | None = None
    page: Page | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    again: bool = False
    fork: Fork | None = None
    offset: int | None = None
    timeout_ms: int | None = None


class NodeStarted(OfExecution, kw_only=True, tag="node_started"):
    """A node runs longer than a moment: its worker holds it by a lease from now on. `details`: what it has told."""

    worker: str
    details: Payload | None = None


class NodeStreaming(OfExecution, kw_only=True, tag="node_streaming"):
    """A streaming node's first chunk is durable, at this place of `beluga.run-results`.

    `resumed` is the incarnation whose stream it goes on with; None: it begins a stream.
    """

    partition: int
    offset: int
    resumed: Incarnation | None = None


class NodeSucceeded(OfExecution, kw_only=True, tag="node_succeeded"):
    """A handler is done. `branches` are the conditions that held; `chunks` how many were emitted.

    Of an execution that ran no handler, but read a stream for a map, `output` holds the chunks that it read.

    `resumed` is the incarnation whose stream it went on with, its chunks among them.
    """

    output: Payload
    branches: tuple[int, ...] = ()
    chunks: int | None = None
    done: bool = True  # of a loop pass: `until` held; of chunks that were read: there are no more
    resumed: Incarnation | None = None


class NodeFailed(OfExecution, kw_only=True, tag="node_failed"):
    """A handler raised, timed out, or gave what its type forbids. Its worker judged whether to retry.

    `crashed_on` names the worker when the handler's own process died with it; None: it did not.
    """

    failure: Failure
    retryable: bool
    details: Payload | None = None
    crashed_on: str | None = None


class StreamVoid(OfExecution, kw_only=True, tag="stream_void"):
    """A stream that the execution read proved void before its end: whatever the execution gave does not count."""


class NodeParked(OfAttempt, kw_only=True, tag="node_parked"):
    """A worker took the node and its deployed code has no such node. Earlier versions do not say which worker."""

    worker: str = ""


class LeaseExpired(OfExecution, kw_only=True, tag="lease_expired"):
    """The worker that held the node has not been heard of. `details` are the last that it told.

    `begun` is False when it had no slot for it yet, as far as it told.
    """

    details: Payload | None = None
    begun: bool = True


class NodeReleased(OfExecution, kw_only=True, tag="node_released"):
    """The worker that holds the node stops, and will not finish it. `details` are the last that it told."""

    details: Payload | None = None


class DispatchLost(OfAttempt, kw_only=True, tag="dispatch_lost"):
    """The workers have acknowledged all that was ever sent of this attempt, and none has told of it."""


class RunStalled(OfRun, kw_only=True, tag="run_stalled"):
    """The run goes on and waits for nothing: an error of the engine, which whoever saw it has reported."""


class TimerFired(OfRun, kw_only=True, tag="timer_fired"):
    """A deadline in the run's state has passed. Without `node` it is the run's own."""

    node: NodeKey | None = None
    attempt: int
    due_ms: int


class SignalReceived(OfRun, kw_only=True, tag="signal_received"):
    """Somebody signalled the run. `id` makes a repeated signal harmless.

    `parent` is the run that it was sent to, or handed to, and that has handed it on to this one.
    """

    signal: str
    id: str
    value: Payload
    parent: RunId | None = None


class CancelRequested(OfRun, kw_only=True, tag="cancel_requested"):
    """Somebody wants the run to end now."""

    reason: str = ""


class RetryRequested(OfRun, kw_only=True, tag="retry_requested"):
    """Somebody wants a failed run to go on from its failed nodes.

    `id` makes a repeated request harmless, however late; without one the `at_ms` that it was sent with stands for it,
    or where it lies in its topic.
    """

    id: str = ""


class NodeOverridden(OfRun, kw_only=True, tag="node_overridden"):
    """An operator gives a node of this run another timeout or number of attempts than its definition says.

    It holds for attempts that begin after it; None leaves a value as the definition has it.
    """

    node: NodeName
    timeout_ms: int | None = None
    attempts: int | None = None


class ChildFinished(OfRun, kw_only=True, tag="child_finished"):
    """A run that this run's node started has ended.

    `counter` is the child's own at its end: a child that is retried ends more than once, and an
    earlier end told again must not count as the later one. `may_go_on` is False when it has been undone, so
    that a retry of its parent must begin another. `began` is when the run that started it began (0: not told).
    """

    node: NodeKey
    child: RunId
    status: Literal["succeeded", "failed", "cancelled", "rejected"]
    output: Payload | None = None
    failure: Failure | None = None
    counter: int = 0
    may_go_on: bool = True
    began: int = 0


class SlotGranted(OfRun, kw_only=True, tag="slot_granted"):
    """A limit has a slot for the run, or for this node of it, by the request of this number."""

    limit: LimitId
    node: NodeKey | None = None
    number: int


class OfLimit(Frozen, kw_only=True, tag_field="type"):
    """Base of what happens to a limit. `key` is its id, and the record key of all its messages."""

    key: LimitId
    at_ms: int

    @property
    def type(self) -> str:
        """What the JSON's member of this name holds."""
        return str(self.__struct_config__.tag)


class SlotWanted(OfLimit, kw_only=True, tag="slot_wanted"):
    """A run or node wants a slot. `value` is that of the limit's key, `reply` the record key of the answer."""

    run: RunId
    node: NodeKey | None = None
    number: int
    reply: str
    limit: Limit
    value: str = ""


class SlotReturned(OfLimit, kw_only=True, tag="slot_returned"):
    """A run or node needs its slot no more, or waits for it no longer."""

    run: RunId
    node: NodeKey | None = None
    number: int


class LimitDue(OfLimit, kw_only=True, tag="limit_due"):
    """Time has come to look at a limit again."""


LimitEvent: TypeAlias = SlotWanted | SlotReturned | LimitDue
NodeEvent: TypeAlias = (
    NodeStarted
    | NodeStreaming
    | NodeSucceeded
    | NodeFailed
    | StreamVoid
    | NodeParked
    | LeaseExpired
    | NodeReleased
    | DispatchLost
)
RunEvent: TypeAlias = (
    RunRequested
    | RunStalled
    | TimerFired
    | SignalReceived
    | CancelRequested
    | RetryRequested
    | NodeOverridden
    | ChildFinished
    | SlotGranted
)
Event: TypeAlias = NodeEvent | RunEvent
OwnerEvent: TypeAlias = TimerFired | LeaseExpired | DispatchLost | RunStalled
"""What the owner of a partition says of the runs that it has in mind, and nobody else does."""
