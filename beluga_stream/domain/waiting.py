"""What a run that goes on waits for, since when, and when that should be over: told from its state alone.

Pending nodes are not told, since they wait for nodes that are; but for those that wait only for the first chunk of
another's stream: their waiting is no proof that the other has not ended.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from .definition import NodeKind
from .ids import NodeKey, NodeName, is_feed, node_of
from .limiting import patience_ms
from .limiting import told as slot_of
from .plan import Plan
from .state import NODE_ENDED, NodeState, NodeStatus, RunState, RunStatus

Reason: TypeAlias = Literal[
    "worker", "lease", "timer", "signal", "child", "workflow", "code", "limit", "parts", "stream", "nothing"
]
"""`worker`: one that takes it; `lease`: the one that has it; `workflow`: a durable run; `parts`: the items, pages or
passes of the node; `stream`: the next chunk of a node that has reasons of its own."""


_NOTHING = "nothing: please report this run"


class Waiting(NamedTuple):
    """One reason why a run goes on. Times are epoch milliseconds; `due_ms` None: nobody can say."""

    node: NodeKey | None
    on: Reason
    what: str
    since_ms: int
    due_ms: int | None = None

    def is_late(self, now_ms: int, patience_ms: int) -> bool:
        """Whether it should have been over so long ago; work that nobody takes should not wait longer than that."""
        if self.on in ("nothing", "code"):
            return True
        if self.on == "worker":
            return now_ms - self.since_ms > patience_ms
        return self.due_ms is not None and now_ms - self.due_ms > patience_ms


def waits(plan: Plan, state: RunState) -> list[Waiting]:
    """Every reason, in the order of the nodes. A run that goes on without one waits for `nothing`: a defect."""
    if state.ended:
        return []
    if state.status is RunStatus.LIMITED:
        since = state.started_ms if state.due_ms is None else state.due_ms - patience_ms(plan, state)
        return [Waiting(None, "limit", slot_of(plan, state, None), since, state.due_ms)]
    begun = {
        key: node
        for key, node in state.nodes.items()
        if node.status is not NodeStatus.PENDING and node.status not in NODE_ENDED
    }
    names = {key: node_of(key) for key in begun}
    in_parts = {name for key, name in names.items() if name != key}
    found = [_of(plan, state, key, node, names[key], has_parts=key in in_parts) for key, node in begun.items()]
    found.extend(_first_chunks(plan, begun, state))
    return found or [Waiting(None, "nothing", _NOTHING, state.started_ms)]


def _first_chunks(plan: Plan, begun: Mapping[NodeKey, NodeState], state: RunState) -> Iterator[Waiting]:
    """The pending nodes that wait for nothing but streams which have not begun."""
    for source in plan.readers:
        node = begun.get(source)
        if node is None or (node.stream is not None and node.stream.counter > 0):
            continue
        for way in plan.readers[source]:
            target = state.nodes.get(way.edge.target)
            waits_once = way.sources == 1 if target is None else target.open == 1
            if waits_once and (target is None or target.status is NodeStatus.PENDING):
                since = node.since_ms if target is None else max(node.since_ms, target.since_ms)
                yield Waiting(way.edge.target, "stream", f"the stream of {source}", since)


def _of(plan: Plan, state: RunState, key: NodeKey, node: NodeState, name: NodeName, *, has_parts: bool) -> Waiting:
    declared = plan.nodes[name]
    match node.status:
        case NodeStatus.LIMITED:
            return Waiting(key, "limit", slot_of(plan, state, key), node.since_ms, node.due_ms)
        case NodeStatus.READY:
            return Waiting(key, "worker", f"a worker of queue {declared.queue!r}", node.since_ms)
        case NodeStatus.RUNNING:
            timeout_ms = None if is_feed(key) else declared.timeout_ms
            due = None if timeout_ms is None else node.since_ms + timeout_ms
            return Waiting(key, "lease", f"worker {node.worker or 'unknown'}", node.since_ms, due)
        case NodeStatus.BACKOFF:
            return Waiting(key, "timer", f"its next attempt, after {node.attempt}", node.since_ms, node.due_ms)
        case NodeStatus.PARKED:
            why = "" if node.failure is None else f": {node.failure.message}"
            return Waiting(key, "code", f"its code{why}", node.since_ms, node.due_ms)
        case _ if node.child is not None and plan.starts_durable(key):
            return Waiting(key, "workflow", f"durable run {node.child}", node.since_ms, node.due_ms)
        case _ if node.child is not None:
            return Waiting(key, "child", f"run {node.child}", node.since_ms, node.due_ms)
        case _ if declared.kind is NodeKind.WAIT:
            return Waiting(key, "signal", f"signal {declared.signal!r}", node.since_ms, node.due_ms)
        case _ if declared.kind is NodeKind.SLEEP:
            return Waiting(key, "timer", "the end of its sleep", node.since_ms, node.due_ms)
        case _ if has_parts:
            return Waiting(key, "parts", "its parts", node.since_ms)
        case _:
            return Waiting(key, "nothing", _NOTHING, node.since_ms)
