"""How readiness goes through a graph: edges are taken or dead, nodes begin or are skipped.

An edge is unresolved until its source has ended. A succeeded source takes its plain edges and those
of the branches that its worker reported; all others are dead, and so are the edges of a source
that failed, was skipped or cancelled, except those that ask for its outcome. A node with an
`all` join begins when every incoming edge is resolved and one at least was taken, and is
skipped when all are dead; so a join neither stalls nor vanishes.
(This is dead-path elimination, as in BPEL 2.0, section 11.6.)

A pending node counts its unresolved edges in `open` and its taken ones in `total`, so that one
resolution costs the same however many sources a join has.
"""

from dataclasses import replace

from .definition import Edge, EdgeMode, Join, Node, NodeKind
from .draft import Draft
from .ending import cancel_nodes
from .events import Failure
from .ids import INPUT, NodeKey, NodeName, node_of
from .payload import NOTHING, Inline, Payload, gather
from .state import NODE_ENDED, NodeState, NodeStatus


def is_taken(edge: Edge, source: NodeState) -> bool:
    """Whether an edge from a source that has ended is taken; otherwise it is dead."""
    if source.status is NodeStatus.SUCCEEDED:
        return edge.branch is None or edge.branch in source.branches
    return edge.mode is EdgeMode.OUTCOME


def resolve_edges(draft: Draft, source: NodeName) -> list[Node]:
    """Resolve the edges of a source that has ended. Returns the nodes to begin, in a stable order.

    Nodes that turn out skipped are ended here, and their edges resolved in turn.
    """
    begin: list[Node] = []
    ended = [source]
    while ended:
        for node in _resolve(draft, ended.pop()):
            match _verdict(draft, node):
                case True:
                    begin.append(node)
                case False:
                    draft.move(node.name, NodeStatus.SKIPPED)
                    ended.append(node.name)
                case None:
                    pass
    return begin


def argument_of(draft: Draft, edge: Edge) -> Payload:
    """What an edge that is taken hands over."""
    if edge.source == INPUT:
        return draft.before.input or NOTHING
    return carried(edge, draft.node(edge.source))


def carried(edge: Edge, source: NodeState) -> Payload:
    """The payload on a taken edge: the source's output, or its outcome as a mapping."""
    if edge.mode is not EdgeMode.OUTCOME:
        return source.output or NOTHING
    return outcome(source.status.value, source.output, source.failure)


def outcome(status: str, output: Payload | None, failure: Failure | None) -> Payload:
    """How a node ended, as a value: status, value, error code and message."""
    return gather(
        [
            Inline(status),
            output or NOTHING,
            Inline(failure.code if failure else None),
            Inline(failure.message if failure else None),
        ],
        ["status", "value", "code", "message"],
    )


def select(draft: Draft, node: Node) -> Payload:
    """The output of a select node from the sources that are taken now, in the order of its edges."""
    taken = [edge for edge in draft.plan.incoming[node.name] if _is_taken_now(draft, edge)]
    if node.join is Join.FIRST:
        return argument_of(draft, taken[0])
    if node.join is Join.N_OF:
        taken = taken[: node.count]
    return gather([argument_of(draft, edge) for edge in taken])


def cancel_superfluous(draft: Draft, node: Node) -> list[NodeName]:
    """After a `first` or `n_of` join: end the nodes before it that nobody else waits for.

    Returns the declared nodes it ended.
    """
    plan = draft.plan
    ended: list[NodeName] = []
    for name in plan.upstream.get(node.name, ()):
        if draft.node(name).status in NODE_ENDED or name in plan.definition.finish:
            continue
        if all(draft.node(target).status in NODE_ENDED for target in plan.targets[name]):
            cancel_nodes(draft, [key for key in (*executions(draft, name), NodeKey(name)) if key not in ended])
            ended.append(name)
    return ended


def executions(draft: Draft, name: NodeName) -> list[NodeKey]:
    """The items, pages or passes of a node that are in the state."""
    if draft.plan.nodes[name].kind not in (NodeKind.MAP, NodeKind.LOOP):
        return []
    return [key for key in draft.nodes if key != name and node_of(key) == name]


def _resolve(draft: Draft, source: NodeName) -> list[Node]:
    state = draft.node(source)
    touched: dict[NodeName, None] = {}
    for edge in draft.plan.outgoing[source]:
        target = draft.node(edge.target)
        if target.status is not NodeStatus.PENDING:
            continue
        taken = source == INPUT or is_taken(edge, state)
        left = target.open if NodeKey(edge.target) in draft.nodes else len(draft.plan.incoming[edge.target])
        draft.keep(edge.target, replace(target, open=left - 1, total=target.total + taken))
        touched[edge.target] = None
    return [draft.plan.nodes[name] for name in touched]


def _verdict(draft: Draft, node: Node) -> bool | None:
    """True: begin, False: skip, None: wait."""
    state = draft.node(node.name)
    if state.status is not NodeStatus.PENDING:
        return None
    need = 1 if node.join is Join.FIRST else node.count if node.join is Join.N_OF else 0
    if need:
        if state.total >= need:
            return True
        return False if state.total + state.open < need else None
    if state.open > 0:
        return None
    return state.total > 0


def _is_taken_now(draft: Draft, edge: Edge) -> bool:
    if edge.source == INPUT:
        return True
    source = draft.node(edge.source)
    return source.status in NODE_ENDED and is_taken(edge, source)
