"""The records that are no input of the reducer: work for workers, what readers see, control, summaries.

docs/wire.md describes them for clients in other languages.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from ..domain.definition import EdgeMode
from ..domain.events import (
    CancelRequested,
    Event,
    Failure,
    LimitEvent,
    NodeFailed,
    NodeParked,
    NodeSucceeded,
    OfExecution,
    OfRun,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
    Source,
    StreamVoid,
)
from ..domain.frozen import Frozen, field
from ..domain.gathering import EventArrived, GatheringDue
from ..domain.ids import GraphHash, Incarnation, NodeKey, NodeName, RunId
from ..domain.payload import Payload
from ..domain.ticks import TicksDue


class Feed(Frozen):
    """Not the node's handler, but at most `most` chunks of its argument's stream, from the one numbered `start` on."""

    start: int
    most: int


class Argument(Frozen):
    """One bound parameter of a dispatched node. With a `stream` its value is read from there."""

    name: str
    payload: Payload
    mode: EdgeMode = EdgeMode.VALUE
    stream: Source | None = None


class NodeReady(Frozen, kw_only=True, tag_field="type", tag="node_ready"):
    """Work for one worker: an attempt of a node, with everything it needs. Times in epoch milliseconds.

    `root` is the run that a user knows (a page's parent). `role` says which of the node's functions is meant; with
    `feed` none is: what is wanted are the next chunks of a stream that it is mapped over.

    `details` are what an earlier attempt told last by a heartbeat. The last `losses` attempts lost their worker or
    process; `apart` asks for a process of its own. `resume`: an attempt goes on after what the one before it emitted,
    and finds that at `emitted`.

    `trace` is the W3C traceparent of the run's span, `links` those of the executions whose outputs come together here.
    `shape` says what the node asks of its function, for workers that have another definition of the graph.
    """

    run: RunId
    key: str
    root: RunId
    graph: str
    definition: GraphHash
    node: NodeKey
    name: NodeName
    attempt: int
    arguments: tuple[Argument, ...]
    generation: int
    timeout_ms: int | None = None
    at_ms: int
    role: Literal["handler", "fallback", "compensate"] = "handler"
    details: Payload | None = None
    losses: int = 0
    apart: bool = False
    trace: str | None = None
    resume: bool = False
    emitted: Source | None = None
    links: tuple[str, ...] = ()
    feed: Feed | None = None
    shape: str = ""


class Heartbeat(OfExecution, kw_only=True, tag="heartbeat"):
    """A worker still holds this attempt. `details` are what its handler told last, for the next attempt.

    `begun` is False while it has no slot yet.
    """

    details: Payload | None = None
    begun: bool = True


Outcome: TypeAlias = NodeSucceeded | NodeFailed | NodeParked | StreamVoid


class Segment(OfRun, kw_only=True, tag="segment"):
    """The outcomes of nodes in a row that one worker ran. Each counts only if the one before it did."""

    outcomes: tuple[Outcome, ...]


class NodeChange(Frozen):
    """One status of one node; `counter` orders the statuses of a run and makes repeats harmless.

    `stream` is the incarnation that wrote last what others read live of a node that has succeeded. It may have been
    another than the one that succeeded, which went on after it and added nothing. `branches` are the conditions that
    held of a node that has succeeded and has any.
    """

    node: NodeKey
    status: str
    counter: int
    attempt: int
    incarnation: Incarnation | None = None
    chunks: int | None = None
    output: Payload | None = None
    failure: Failure | None = None
    due_ms: int | None = None
    stream: Incarnation | None = None
    branches: tuple[int, ...] | None = None


class RunChange(Frozen):
    """A status of the run itself; the last one carries its output or failure.

    `digest` is that of the input that it was started with, unless another run has started it: whoever has given its
    key with another input knows by it that the run is not theirs.
    """

    status: str
    counter: int
    output: Payload | None = None
    failure: Failure | None = None
    digest: str | None = None


class Progress(Frozen, kw_only=True, tag_field="type", tag="progress"):
    """What one step of the coordinator changed in a run."""

    run: RunId
    graph: str
    at_ms: int
    nodes: tuple[NodeChange, ...] = ()
    status: RunChange | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class ChunkEmitted(Frozen, kw_only=True, tag_field="type", tag="chunk"):
    """One chunk of a streaming node. `seq` counts from 0 within an incarnation.

    The first chunk of an incarnation that goes on with another's stream names it: `resumes`. Its `seq` goes on, too.
    """

    run: RunId
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    seq: int
    value: Payload
    at_ms: int
    resumes: Incarnation | None = None


class Rejected(Frozen, kw_only=True, tag_field="type", tag="rejected"):
    """A start that was refused. `digest` is the refused input's, so that only its sender takes it as an answer."""

    run: RunId
    graph: str
    at_ms: int
    code: str
    message: str
    digest: str


class LookAfter(OfRun, kw_only=True, tag="look_after"):
    """A durable run has not been heard of for long: how does it stand? `counter` is that of the last end it told."""

    parent: Parent
    counter: int = 0


class CancelNotice(Frozen, kw_only=True, tag_field="type", tag="cancel"):
    """For every worker: stop these attempts of the run, or without any all of it up to this generation.

    Attempts of a later generation are others: a run that is forgotten may begin again under its id.
    """

    run: RunId
    generation: int
    attempts: tuple[str, ...] = ()


class BegunNotice(Frozen, kw_only=True, tag_field="type", tag="begun"):
    """For every worker: this attempt is begun and held by a lease. A redelivery of it is nobody's to run.

    As with a cancel, attempts of a later `generation` are others (None: it was not told yet).
    """

    run: RunId
    attempt: str
    generation: int | None = None


class Summary(Frozen, kw_only=True, tag_field="type", tag="summary"):
    """A run in one compacted record: for lists, dashboards and `on_run`. Pages have none.

    Of a failed run `retry_until_ms` is how long it can be retried: no longer than its end, when it cannot go on.
    `request` is the offset of what started it, in `beluga.run-requests`.
    """

    run: RunId
    graph: str
    definition: GraphHash | None = None
    status: str
    trigger: str
    started_ms: int
    ended_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None
    parent: RunId | None = None
    output: Payload | None = None
    failure: Failure | None = None
    forked_from: RunId | None = None
    retry_until_ms: int | None = None
    request: int | None = None


Result: TypeAlias = Progress | ChunkEmitted | Rejected
Incoming: TypeAlias = Event | Heartbeat | Segment | LimitEvent
Notice: TypeAlias = CancelNotice | BegunNotice
WorkflowEvent: TypeAlias = RunRequested | SignalReceived | CancelRequested | RetryRequested
WorkflowRequest: TypeAlias = WorkflowEvent | LookAfter
"""What is asked of those who host the workflows of durable graphs."""
TriggerEvent: TypeAlias = EventArrived | GatheringDue | TicksDue
