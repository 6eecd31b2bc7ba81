"""The records that are no input of the reducer: work for workers, what readers see, control, summaries.

docs/wire.md describes them for clients in other languages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from ..domain.definition import EdgeMode
from ..domain.events import Event, Failure, NodeFailed, NodeParked, NodeSucceeded
from ..domain.ids import GraphHash, Incarnation, NodeKey, NodeName, RunId
from ..domain.payload import Payload


@dataclass(frozen=True, slots=True)
class Argument:
    """One bound parameter of a dispatched node."""

    name: str
    payload: Payload
    mode: EdgeMode = EdgeMode.VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReady:
    """Work for one worker: an attempt of a node, with everything it needs.

    `root` is the run that a user knows (a page's parent); `role` says which of the node's
    functions is meant. Times in epoch milliseconds.
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
    trace: str | None = None
    type: Literal["node_ready"] = "node_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A worker still holds this attempt."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    type: Literal["heartbeat"] = "heartbeat"


Outcome: TypeAlias = Annotated[NodeSucceeded | NodeFailed | NodeParked, Field(discriminator="type")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The outcomes of nodes in a row that one worker ran. Each counts only if the one before it did."""

    run: RunId
    key: str
    at_ms: int
    outcomes: tuple[Outcome, ...]
    type: Literal["segment"] = "segment"


@dataclass(frozen=True, slots=True)
class NodeChange:
    """One status of one node; `counter` orders the statuses of a run and makes repeats harmless."""

    node: NodeKey
    status: str
    counter: int
    attempt: int
    incarnation: Incarnation | None = None
    chunks: int | None = None
    output: Payload | None = None
    failure: Failure | None = None
    due_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RunChange:
    """A status of the run itself; the last one carries its output or failure."""

    status: str
    counter: int
    output: Payload | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one step of the coordinator changed in a run."""

    run: RunId
    graph: str
    at_ms: int
    nodes: tuple[NodeChange, ...] = ()
    status: RunChange | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    type: Literal["progress"] = "progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEmitted:
    """One chunk of a streaming node. `seq` counts from 0 within an incarnation."""

    run: RunId
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    seq: int
    value: Payload
    at_ms: int
    type: Literal["chunk"] = "chunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A start that was refused. `digest` is the refused input's, so that only its sender takes it as an answer."""

    run: RunId
    graph: str
    at_ms: int
    code: str
    message: str
    digest: str
    type: Literal["rejected"] = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelNotice:
    """For every worker: stop these attempts of the run, or without any all of it up to this generation."""

    run: RunId
    generation: int
    attempts: tuple[str, ...] = ()
    type: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in one compacted record: for lists, dashboards and `on_run`. Pages have none."""

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
    type: Literal["summary"] = "summary"


Result: TypeAlias = Annotated[Progress | ChunkEmitted | Rejected, Field(discriminator="type")]
Incoming: TypeAlias = Annotated[Event | Heartbeat | Segment, Field(discriminator="type")]
