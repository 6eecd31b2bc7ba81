"""The reducer's working copy of a run: changed in place while one event is applied, then frozen again."""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, TypedDict, Unpack

from .commands import BroadcastCancel, Command, PublishNode, PublishRun, ReturnSlot
from .events import Failure
from .frozen import replace
from .ids import Incarnation, LimitId, NodeKey, NodeName, RunId, attempt_key, node_of
from .limit import Limit, limit_ids
from .payload import Payload
from .plan import Plan
from .state import (
    NODE_ENDED,
    NodeState,
    NodeStatus,
    RunState,
    RunStatus,
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
    details: Payload | None
    losses: int
    slot: int
    limit: LimitId | None
    handed: Mapping[str, int]
    fed: int
    came: int


class Draft:
    """One event's changes to one run.

    `ready` holds the nodes whose edges allow them to begin: `steps.settle` begins them when the
    event itself is applied, so that a long line of nodes that end at once is a loop and no recursion.
    """

    __slots__ = (
        "active",
        "at_ms",
        "before",
        "commands",
        "compensated",
        "counter",
        "due_ms",
        "ended_ms",
        "failure",
        "fork",
        "generation",
        "limit",
        "nodes",
        "output",
        "plan",
        "ready",
        "retries_seen",
        "signals",
        "signals_seen",
        "slot",
        "status",
        "timers",
    )

    def __init__(self, plan: Plan, state: RunState, at_ms: int) -> None:
        self.plan = plan
        self.before = state
        self.at_ms = at_ms
        self.nodes: dict[NodeKey, NodeState] = dict(state.nodes)
        self.ready: deque[NodeName] = deque()
        self.commands: list[Command] = []
        self.timers: list[Timer] = []
        self.status = state.status
        self.active = state.active
        self.counter = state.counter
        self.generation = state.generation
        self.signals = state.signals
        self.signals_seen = state.signals_seen
        self.retries_seen = state.retries_seen
        self.due_ms = state.due_ms
        self.ended_ms = state.ended_ms
        self.output = state.output
        self.failure = state.failure
        self.compensated = state.compensated
        self.slot = state.slot
        self.limit = state.limit
        self.fork = state.fork

    @property
    def run(self) -> RunId:
        return self.before.run

    def node(self, key: NodeKey) -> NodeState:
        return self.nodes.get(key, FRESH)

    def move(self, key: NodeKey, status: NodeStatus, **changes: Unpack[Changes]) -> NodeState:
        """Put the node into `status`, tell readers, and arm its timer. Counts a declared node that ends."""
        old = self.nodes.get(key, FRESH)
        self.counter = counter = self.counter + 1
        ended = status in NODE_ENDED
        if key in self.plan.nodes:
            self.active += (old.status in NODE_ENDED) - ended
        due = changes.setdefault("due_ms", None)
        if ended:
            changes["worker"] = None
            if old.slot:
                old = self.give_back(key, old)
        new = replace(old, status=status, since_ms=self.at_ms, ended=counter if ended else 0, **changes)
        self.nodes[key] = new
        if due is not None:
            self.timers.append(Timer(due, self.before.run, key, new.attempt))
        self.commands.append(PublishNode(key, status, counter, new.attempt))
        return new

    def keep(self, key: NodeKey, new: NodeState) -> None:
        """Set bookkeeping fields that no reader sees."""
        self.nodes[key] = new

    def fence(self, key: NodeKey) -> None:
        """Tell workers to stop the node's attempt: another is to follow it."""
        self.commands.append(BroadcastCancel(self.generation, (attempt_key(key, self.node(key).attempt),)))

    def give_back(self, key: NodeKey, node: NodeState) -> NodeState:
        """Return the slots that the node has, and the one that it waits for. Gives the node without them."""
        self._return(self.plan.nodes[node_of(key)].limits, key, node.slot, node.limit)
        return replace(node, slot=0, limit=None)

    def give_back_runs(self) -> None:
        """Return the slots that the run has, and the one that it waits for."""
        if self.slot:
            self._return(self.plan.definition.limits, None, self.slot, self.limit)
            self.slot, self.limit = 0, None

    def announce(self, status: RunStatus) -> None:
        """Put the run into `status` and tell readers."""
        self.status = status
        self.counter += 1
        self.commands.append(PublishRun(status, self.counter))

    def freeze(self) -> Decision:
        state = replace(
            self.before,
            status=self.status,
            due_ms=self.due_ms,
            ended_ms=self.ended_ms,
            nodes=self.nodes,
            active=self.active,
            counter=self.counter,
            generation=self.generation,
            signals=self.signals,
            signals_seen=self.signals_seen,
            retries_seen=self.retries_seen,
            output=self.output,
            failure=self.failure,
            compensated=self.compensated,
            slot=self.slot,
            limit=self.limit,
            fork=self.fork,
        )
        return Decision(state, tuple(self.commands), tuple(self._timers()) if self.timers else ())

    def _return(self, limits: tuple[Limit, ...], key: NodeKey | None, number: int, awaited: LimitId | None) -> None:
        for found in limit_ids(limits, self.before.keys):
            if awaited is None or found <= awaited:
                self.commands.append(ReturnSlot(found, key, number))

    def _timers(self) -> list[Timer]:
        """The new deadlines that still hold: what began in this event may have been stopped in it too."""
        return [
            timer
            for timer in self.timers
            if timer.due_ms == (self.due_ms if timer.node is None else self.node(timer.node).due_ms)
        ]
