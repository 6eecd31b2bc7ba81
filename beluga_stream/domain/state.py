"""Where a run stands. Frozen values: the reducer makes new ones."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from .events import Failure, Fork, Page, Parent
from .frozen import Frozen, field
from .ids import GraphHash, Incarnation, LimitId, NodeKey, NodeName, RunId
from .payload import Payload


class NodeStatus(StrEnum):
    """See `transitions` for how one follows another."""

    PENDING = "pending"
    LIMITED = "limited"
    READY = "ready"
    RUNNING = "running"
    BACKOFF = "backoff"
    WAITING = "waiting"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    # Enum's own hash runs Python code, and statuses are looked up many times an event.
    __hash__ = str.__hash__


class RunStatus(StrEnum):
    """A run fails only after its compensations; `failed` may run again by `retry`, the others are final.

    One that is `limited` waits for a slot of its graph's limits before it begins.
    """

    LIMITED = "limited"
    RUNNING = "running"
    COMPENSATING = "compensating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__


NODE_ENDED = frozenset({NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.SKIPPED, NodeStatus.CANCELLED})
RUN_ENDED = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})


class StreamPosition(Frozen):
    """Where a streaming node's chunks begin in `beluga.run-results`, and who writes them now.

    `counter` is the run's when the edges that read the stream were opened: no status up to it is news to their readers.
    0: nobody reads it before its end.
    """

    incarnation: Incarnation
    partition: int
    offset: int
    counter: int = 0


class NodeState(Frozen):
    """One execution place. `due_ms` is the deadline that a timer watches: when to retry, wake or look again.

    `tries` counts attempts since the last fresh start (the retry budget), `attempt` all of them.
    A pending node counts its unresolved edges in `open` and its taken ones in `total`. A map's `next` is
    the first item not yet begun, `total` its length, `open` how many run; a loop's `next` is its
    current pass, `total` the most it may make; a wait has `open` 1 once it has reminded; a child's node
    has in `total` the counter of the last end it was told. `ended` is the run's counter when the node
    ended (compensation goes backwards by it). `details` are what an attempt told by its heartbeats, for the next one.
    `losses` counts the attempts in a row whose process or worker died (see `crashes`).
    `slot` is the number by which it asked for the slots of its limits (0: it has none and wants none), `limit` the one
    that it waits for. `handed` counts the signals that a child was handed, by name.
    `fed` is the attempt of a map that went over a stream while it is written (0: over a list). Its `total` is
    -1 until the stream's length is known, and in its pages `came` is how far it has been read.
    """

    status: NodeStatus = NodeStatus.PENDING
    attempt: int = 0
    tries: int = 0
    incarnation: Incarnation | None = None
    worker: str | None = None
    since_ms: int = 0
    due_ms: int | None = None
    output: Payload | None = None
    branches: tuple[int, ...] = ()
    failure: Failure | None = None
    stream: StreamPosition | None = None
    chunks: int | None = None
    fallback: bool = False
    child: RunId | None = None
    next: int = 0
    total: int = 0
    open: int = 0
    ended: int = 0
    details: Payload | None = None
    losses: int = 0
    slot: int = 0
    limit: LimitId | None = None
    handed: Mapping[str, int] = field(default_factory=dict)
    fed: int = 0
    came: int = 0


class Signalled(Frozen):
    """A signal that came before its wait."""

    signal: str
    id: str
    value: Payload


class Override(Frozen):
    """What an operator has set for a node of one run; None is the definition's value."""

    timeout_ms: int | None = None
    attempts: int | None = None


class RunState(Frozen, kw_only=True):
    """One run. `key` is the record key of all its messages (a page has its parent's).

    `counter` numbers the statuses that readers see; `generation` the cancels that workers see, from the run's start on;
    `active` counts the declared nodes that have not ended. `keys` are the values that its limits go by; `slot` and
    `limit` are as of a node. `fork` says which run it goes on from; what it takes over is in there until it begins.
    `request` is the offset of the request that started it, in `beluga.run-requests`, and `timeout_ms` what that allowed
    it.
    """

    run: RunId
    key: str
    graph: str
    definition: GraphHash | None = None
    status: RunStatus
    digest: str
    trigger: str
    input: Payload | None = None
    started_ms: int
    due_ms: int | None = None
    ended_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None
    parent: Parent | None = None
    page: Page | None = None
    nodes: Mapping[NodeKey, NodeState] = field(default_factory=dict)
    active: int = 0
    counter: int = 0
    generation: int = 0
    signals: tuple[Signalled, ...] = ()
    signals_seen: tuple[str, ...] = ()
    retries_seen: tuple[str, ...] = ()
    output: Payload | None = None
    failure: Failure | None = None
    compensated: bool = False
    overrides: Mapping[NodeName, Override] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    slot: int = 0
    limit: LimitId | None = None
    fork: Fork | None = None
    request: int | None = None
    timeout_ms: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in RUN_ENDED


class Timer(NamedTuple):
    """A deadline in a run's state; it counts only while the state still holds exactly this."""

    due_ms: int
    run: RunId
    node: NodeKey | None
    attempt: int

    def __lt__(self, other: "Timer") -> bool:  # type: ignore[override]
        """Earlier: the one order that matters. A run's and its node's may be due at once, and None is no text."""
        return self.due_ms < other.due_ms


def timers(state: RunState) -> Iterator[Timer]:
    """Every deadline that the state holds."""
    if state.ended:
        return
    if state.due_ms is not None:
        yield Timer(state.due_ms, state.run, None, 0)
    for key, node in state.nodes.items():
        if node.due_ms is not None and node.status not in NODE_ENDED:
            yield Timer(node.due_ms, state.run, key, node.attempt)
