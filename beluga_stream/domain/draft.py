"""The reducer's working copy of a run: changed in place while one event is applied, then frozen again."""

from typing import NamedTuple, TypedDict, Unpack

from .commands import Command, PublishNode
from .events import Failure
from .ids import Incarnation, NodeKey, NodeName, RunId, node_of
from .payload import Payload
from .plan import Plan
from .state import (
    NODE_ENDED,
    NodeState,
    NodeStatus,
    RunState,
    RunStatus,
    Signalled,
    StreamPosition,
    Timer,
)

FRESH = NodeState()


class Decision(NamedTuple):
    """What an event leads to. `timers` are the deadlines that are new in `state`."""

    state: RunState
    commands: tuple[Command, ...] = ()
    timers: tuple[Timer, ...] = ()


class Changes(TypedDict, total=False):
    """The fields of `NodeState` that a step may set."""

    attempt: int
    tries: int
    incarnation: Incarnation | None
    worker: str | None
    due_ms: int | None
    output: Payload | None
    branches: tuple[int, ...]
    failure: Failure | None
    stream: StreamPosition | None
    chunks: int | None
    fallback: bool
    child: RunId | None
    next: int
    total: int
    open: int


class Draft:
    """One event's changes to one run."""

    def __init__(self, plan: Plan, state: RunState, at_ms: int) -> None:
        self.plan = plan
        self.before = state
        self.at_ms = at_ms
        self.nodes: dict[NodeKey, NodeState] = dict(state.nodes)
        self.commands: list[Command] = []
        self.timers: list[Timer] = []
        self.status: RunStatus = state.status
        self.active = state.active
        self.counter = state.counter
        self.generation = state.generation
        self.signals: tuple[Signalled, ...] = state.signals
        self.signals_seen = state.signals_seen
        self.due_ms = state.due_ms
        self.ended_ms = state.ended_ms
        self.output = state.output
        self.failure = state.failure
        self.compensated = state.compensated

    @property
    def run(self) -> RunId:
        return self.before.run

    def node(self, key: NodeKey | NodeName) -> NodeState:
        return self.nodes.get(NodeKey(key), FRESH)

    def move(self, key: NodeKey | NodeName, status: NodeStatus, **changes: Unpack[Changes]) -> NodeState:
        """Put the node into `status`, tell readers, and arm its timer. Counts a declared node that ends."""
        key = NodeKey(key)
        old = self.nodes.get(key, FRESH)
        self.counter += 1
        ended = status in NODE_ENDED
        if ended and node_of(key) == key:
            self.active -= 1
        due = changes.get("due_ms")
        new = NodeState(
            status=status,
            attempt=changes.get("attempt", old.attempt),
            tries=changes.get("tries", old.tries),
            incarnation=changes.get("incarnation", old.incarnation),
            worker=None if ended else changes.get("worker", old.worker),
            since_ms=self.at_ms,
            due_ms=due,
            output=changes.get("output", old.output),
            branches=changes.get("branches", old.branches),
            failure=changes.get("failure", old.failure),
            stream=changes.get("stream", old.stream),
            chunks=changes.get("chunks", old.chunks),
            fallback=changes.get("fallback", old.fallback),
            child=changes.get("child", old.child),
            next=changes.get("next", old.next),
            total=changes.get("total", old.total),
            open=changes.get("open", old.open),
            ended=self.counter if ended else 0,
        )
        self.nodes[key] = new
        if due is not None:
            self.timers.append(Timer(due, self.run, key, new.attempt))
        self.commands.append(PublishNode(key, status.value, self.counter, new.attempt))
        return new

    def keep(self, key: NodeKey | NodeName, new: NodeState) -> None:
        """Set bookkeeping fields that no reader sees."""
        self.nodes[NodeKey(key)] = new

    def freeze(self) -> Decision:
        before = self.before
        state = RunState(
            run=before.run,
            key=before.key,
            graph=before.graph,
            definition=before.definition,
            status=self.status,
            digest=before.digest,
            trigger=before.trigger,
            input=before.input,
            started_ms=before.started_ms,
            due_ms=self.due_ms,
            ended_ms=self.ended_ms,
            tags=before.tags,
            trace=before.trace,
            parent=before.parent,
            page=before.page,
            nodes=self.nodes,
            active=self.active,
            counter=self.counter,
            generation=self.generation,
            signals=self.signals,
            signals_seen=self.signals_seen,
            output=self.output,
            failure=self.failure,
            compensated=self.compensated,
        )
        return Decision(state, tuple(self.commands), tuple(self.timers))
