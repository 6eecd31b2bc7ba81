"""`retry`: a failed run goes on from its failed nodes; what succeeded stays as it is.

At its end a failed run holds ended nodes, and pending ones that waited for them. Three questions
decide, in this order:

1. Which ended nodes begin again? Those that failed or were stopped with the run. Not: a node that a
   `first` or `n_of` join had made superfluous, and a failure that somebody went on with.
2. Which edges are resolved then? Those whose source has ended and stays so. Counted anew, since a
   node that begins again takes its edges back.
3. What follows for the others? The same verdicts as always: begin, skip or wait; a node that was
   skipped may wait again.
"""

from .definition import Join, Node, NodeKind
from .draft import Draft
from .execution import child_again
from .flow import is_taken, reads, verdict
from .frozen import replace
from .ids import INPUT, NodeName
from .parts import resume_parts
from .state import NodeState, NodeStatus

_UNTOUCHED = frozenset({NodeStatus.PENDING, NodeStatus.SKIPPED})


def resume(draft: Draft) -> None:
    """Begin again what failed or was stopped, and make ready what can go on."""
    page = draft.before.page
    if page is not None:
        resume_parts(draft, draft.plan.nodes[page.node])
        return
    again = _again(draft)
    unsettled = set(again)
    for name in draft.plan.order:
        if name not in again and draft.node(name).status in _UNTOUCHED and reopen(draft, name, unsettled):
            unsettled.add(name)
    for name in draft.plan.order:
        if name in again:
            _begin_again(draft, draft.plan.nodes[name], unsettled)


def _again(draft: Draft) -> frozenset[NodeName]:
    again: set[NodeName] = set()
    begun_after: set[NodeName] = set()
    for name in reversed(draft.plan.order):
        targets = draft.plan.targets[name]
        status = draft.node(name).status
        statuses = {target: draft.node(target).status for target in targets}
        if any(
            found not in _UNTOUCHED or (found is NodeStatus.SKIPPED and target in begun_after)
            for target, found in statuses.items()
        ):
            begun_after.add(name)
        if status is NodeStatus.FAILED:
            if not (name in draft.plan.forgiving and name in begun_after):
                again.add(name)
        elif status is NodeStatus.CANCELLED:
            superfluous = targets and not any(_waits(draft, target, again) for target in targets)
            if name in draft.plan.finish or not superfluous:
                again.add(name)
    return frozenset(again)


def _waits(draft: Draft, target: NodeName, again: set[NodeName]) -> bool:
    if draft.node(target).status is NodeStatus.PENDING:
        return True
    return target in again and draft.plan.nodes[target].join is Join.ALL


def reopen(draft: Draft, name: NodeName, unsettled: set[NodeName]) -> bool:
    """Count the edges of a pending or skipped node anew. Returns whether it waits or begins."""
    plan = draft.plan
    state = draft.node(name)
    ways = plan.into[name]
    waited = [way for way in ways if way.edge.source in unsettled and not reads(draft, way)]
    unresolved = len(waited)
    taken = sum(
        way.counts
        and way not in waited
        and (way.edge.source == INPUT or reads(draft, way) or is_taken(way.edge, draft.node(way.edge.source)))
        for way in ways
    )
    follows = verdict(ways[0].need, unresolved, taken)
    if follows is False:
        if state.status is NodeStatus.PENDING:
            draft.move(name, NodeStatus.SKIPPED)
        return False
    if state.status is NodeStatus.SKIPPED:
        draft.active += 1
    kept = state if state.status is NodeStatus.PENDING else NodeState(NodeStatus.PENDING, state.attempt)
    draft.keep(name, replace(kept, open=unresolved, total=taken))
    if follows:
        draft.ready.append(name)
    return True


def _begin_again(draft: Draft, node: Node, unsettled: set[NodeName]) -> None:
    has_parts = draft.node(node.name).next > 0
    # The parts of a map over a stream are of no use when its writer begins again.
    is_void = any(edge.source in unsettled for edge in draft.plan.incoming[node.name])
    if node.kind in (NodeKind.MAP, NodeKind.LOOP) and has_parts and not is_void:
        resume_parts(draft, node)
    elif node.kind is NodeKind.GRAPH:
        child_again(draft, node.name)
    else:
        draft.active += 1
        draft.keep(node.name, NodeState(NodeStatus.PENDING, draft.node(node.name).attempt))
        if any(edge.source in unsettled for edge in draft.plan.incoming[node.name]):
            # It read a stream whose writer begins again, too.
            reopen(draft, node.name, unsettled)
        else:
            draft.ready.append(node.name)
