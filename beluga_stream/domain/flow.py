"""How readiness goes through a graph: edges are taken or dead, nodes begin or are skipped.

An edge is unresolved until its source has ended. A succeeded source takes its plain edges and those
of the branches that its worker reported; all others are dead, and so are the edges of a source
that failed, was skipped or cancelled, except those that ask for its outcome. A node with an
`all` join begins when every incoming edge is resolved and one at least was taken, and is
skipped when all are dead; so a join neither stalls nor vanishes.
(This is dead-path elimination, as in BPEL 2.0, section 11.6.)

An edge that only orders (`after=`) is waited for like the others, but taking it is no reason to begin: a
node whose data cannot come is skipped all the same, unless order is all it ever waited for.

A pending node counts its unresolved edges in `open` and its taken ones in `total`, so that one
resolution costs the same however many sources a join has.
"""

from .definition import Edge, EdgeMode, Join, Node, NodeKind
from .draft import Draft
from .ending import cancel_nodes
from .events import Failure
from .frozen import replace
from .ids import INPUT, NodeKey, NodeName, node_of
from .payload import NOTHING, Inline, Payload, gather
from .plan import Way
from .state import NODE_ENDED, NodeState, NodeStatus


def is_taken(edge: Edge, source: NodeState) -> bool:
    """Whether an edge from a source that has ended is taken; otherwise it is dead."""
    if source.status is NodeStatus.SUCCEEDED:
        return edge.branch is None or edge.branch in source.branches
    return edge.mode is EdgeMode.OUTCOME


def verdict(need: int, unresolved: int, taken: int) -> bool | None:
    """True: begin, False: skip, None: wait. `need` taken edges are enough; 0 stands for an `all` join."""
    if need:
        if taken >= need:
            return True
        return False if taken + unresolved < need else None
    return None if unresolved > 0 else taken > 0


def resolve_edges(draft: Draft, source: NodeName) -> None:
    """Resolve the edges of a source that has ended; the nodes that may now begin are `ready`.

    Nodes that turn out skipped are ended here, and their edges resolved in turn. In a page nothing
    follows its one node: what comes after the map is its parent's.
    """
    if draft.before.page is not None:
        return
    ended = [source]
    while ended:
        name = ended.pop()
        state = draft.node(name)
        opened = draft.plan.readers.get(name, ()) if _is_open(state) else ()
        for way in draft.plan.ways[name]:
            if way not in opened:  # those were resolved when the stream began
                _resolve(draft, way, ended, taken=name == INPUT or is_taken(way.edge, state))


def resolve_open(draft: Draft, source: NodeName) -> None:
    """The source's stream has begun: the edges that read it are taken."""
    for way in draft.plan.readers[source]:
        _resolve(draft, way, [], taken=True)


def count(draft: Draft, name: NodeName) -> tuple[int, int]:
    """How many edges into a node are unresolved now, and how many are taken and a reason to begin."""
    unresolved = taken = 0
    for way in draft.plan.into[name]:
        source = draft.node(way.edge.source)
        if way.edge.source == INPUT or reads(draft, way):
            taken += way.counts
        elif source.status not in NODE_ENDED:
            unresolved += 1
        else:
            taken += way.counts and is_taken(way.edge, source)
    return unresolved, taken


def reads(draft: Draft, way: Way) -> bool:
    """Whether the edge reads a stream that is open, of a node that has not ended."""
    if way.edge.mode is not EdgeMode.STREAM or way not in draft.plan.readers.get(way.edge.source, ()):
        return False
    source = draft.node(way.edge.source)
    return source.status not in NODE_ENDED and _is_open(source)


def _is_open(source: NodeState) -> bool:
    return source.stream is not None and source.stream.counter > 0


def _resolve(draft: Draft, way: Way, ended: list[NodeName], *, taken: bool) -> None:
    """Resolve one edge of a target that waits; a target that is skipped by it is added to what has `ended`."""
    name = way.edge.target
    target = draft.nodes.get(name)
    if target is None:
        target = NodeState(open=way.sources)
    elif target.status is not NodeStatus.PENDING:
        return
    unresolved = target.open - 1
    total = target.total + (way.counts and taken)
    match verdict(way.need, unresolved, total):
        case True:
            draft.ready.append(name)
        case False:
            draft.move(name, NodeStatus.SKIPPED)
            ended.append(name)
        case None:
            draft.keep(name, replace(target, open=unresolved, total=total))


def argument_of(draft: Draft, edge: Edge) -> Payload:
    """What an edge that is taken hands over, or what a fork was given in its place."""
    if draft.fork is not None and draft.fork.node == edge.target and (edge.into or "") in draft.fork.edited:
        return draft.fork.edited[edge.into or ""]
    if edge.source == INPUT or draft.before.page is not None:
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


def taken_edges(draft: Draft, name: NodeName) -> list[Edge]:
    """The edges that hand something to the node now, in the order of the definition."""
    return [
        edge for edge in draft.plan.incoming[name] if edge.mode is not EdgeMode.ORDER and _is_taken_now(draft, edge)
    ]


def select(draft: Draft, node: Node) -> Payload:
    """The output of a select node from the sources that are taken now, in the order of its edges."""
    taken = taken_edges(draft, node.name)
    if node.join is Join.FIRST:
        return argument_of(draft, taken[0]) if taken else NOTHING
    if node.join is Join.N_OF:
        taken = taken[: node.count]
    return gather([argument_of(draft, edge) for edge in taken])


def cancel_superfluous(draft: Draft, node: Node) -> None:
    """When a `first` or `n_of` join begins: end the nodes before it that nobody else waits for."""
    plan = draft.plan
    for name in plan.upstream[node.name]:
        if draft.node(name).status in NODE_ENDED or name in plan.finish:
            continue
        if not any(target != node.name and _waits(draft, target) for target in plan.targets[name]):
            cancel_nodes(draft, [*executions(draft, name), name])


def executions(draft: Draft, name: NodeName) -> list[NodeKey]:
    """The items, pages or passes of a node that are in the state."""
    if draft.plan.nodes[name].kind not in (NodeKind.MAP, NodeKind.LOOP):
        return []
    return [key for key in draft.nodes if key != name and node_of(key) == name]


def _waits(draft: Draft, target: NodeName) -> bool:
    """Whether the target may still want what its sources give: a join that has begun with enough does not."""
    status = draft.node(target).status
    if draft.plan.nodes[target].join is Join.ALL:
        return status not in NODE_ENDED
    return status is NodeStatus.PENDING


def _is_taken_now(draft: Draft, edge: Edge) -> bool:
    if edge.source == INPUT or draft.before.page is not None:
        return True
    source = draft.node(edge.source)
    return source.status in NODE_ENDED and is_taken(edge, source)
