"""Forks: a new run goes on from an earlier one of the same graph, at a node.

Everything before the node is taken over as it had ended, the node and everything after it runs anew. What is neither
before nor after it is taken over if it is *settled*, and else runs anew too.

A node is settled when nothing of the earlier run can change how it ended: it has succeeded; or it was skipped, or its
failure was gone on with, and its sources are settled; or a join had enough without it, so that all that follows it is
settled. A node that was stopped with its run is not. (This is the greatest such set: a node that a join made
superfluous and what was skipped with it vouch for one another.)
"""

from collections.abc import Mapping

from ..errors import InvalidInput, InvalidState, NotFound
from .definition import NodeKind
from .draft import Draft
from .events import Fork
from .frozen import replace
from .ids import INPUT, NOT_IN_NAMES, NodeKey, NodeName
from .payload import Payload, length_of
from .plan import Plan
from .resume import reopen
from .state import NodeStatus

_WITHOUT_INPUT = frozenset({NodeKind.SELECT, NodeKind.WAIT, NodeKind.SLEEP})


def take_over(draft: Draft, fork: Fork) -> None:
    """Begin a fork: show what it takes over as ended, and begin what the rest of the graph waits for no longer."""
    plan = draft.plan
    for name in plan.order:
        taken = fork.taken.get(name)
        if taken is not None:
            is_stream = plan.nodes[name].kind is NodeKind.STREAM and taken.output is not None
            draft.move(
                name,
                NodeStatus(taken.status),
                output=taken.output,
                branches=taken.branches,
                failure=taken.failure,
                chunks=length_of(taken.output) if is_stream and taken.output is not None else None,
            )
    unsettled: set[NodeName] = set()
    for name in plan.order:
        if name not in fork.taken and reopen(draft, name, unsettled):
            unsettled.add(name)
    draft.fork = replace(fork, taken={})


def taken_by(plan: Plan, told: Mapping[NodeName, str], name: NodeName, of: str) -> frozenset[NodeName]:
    """The nodes that a fork at this node takes over from a run whose nodes stand as `told`.

    Raises `InvalidState` when something that the node needs has not come to its end, and when the node itself was
    passed over in that run: it would be again.
    """
    settled = _settled(plan, told)
    if name in settled and told[name] in (NodeStatus.SKIPPED, NodeStatus.CANCELLED):
        raise InvalidState(
            f"node {name!r} was {told[name]} in run {of}, and would be again: fork at a node before it",
            run=of,
            node=name,
        )
    needed = plan.before(name)
    for source in plan.order:
        if source in needed and source not in settled:
            status = told.get(source, NodeStatus.PENDING)
            raise InvalidState(
                f"node {name!r} needs what {source!r} gives, which is {status} in run {of}: fork at {source!r} or "
                f"before it, or once it has succeeded",
                run=of,
                node=source,
            )
    return settled - plan.after(name) - {name}


def _settled(plan: Plan, told: Mapping[NodeName, str]) -> frozenset[NodeName]:
    settled = {name for name in plan.nodes if _may_be_settled(plan, name, told.get(name, ""))}
    found = False
    while not found:
        unsettled = {name for name in settled if not _is_vouched_for(plan, name, told[name], settled)}
        settled -= unsettled
        found = not unsettled
    return frozenset(settled)


def _may_be_settled(plan: Plan, name: NodeName, status: str) -> bool:
    match status:
        case NodeStatus.SUCCEEDED | NodeStatus.SKIPPED:
            return True
        case NodeStatus.FAILED:
            return name in plan.forgiving
        case NodeStatus.CANCELLED:
            return name not in plan.finish and bool(plan.targets[name])
        case _:
            return False


def _is_vouched_for(plan: Plan, name: NodeName, status: str, settled: set[NodeName]) -> bool:
    match status:
        case NodeStatus.SUCCEEDED:
            return True
        case NodeStatus.CANCELLED:
            return settled.issuperset(plan.targets[name])
        case _:
            return all(edge.source in settled or edge.source == INPUT for edge in plan.incoming[name])


def check_node(plan: Plan, node: str) -> NodeName:
    """The node of this name. Raises `NotFound`, and `InvalidInput` for a part of one."""
    name = NodeName(NodeKey(node))
    if name in plan.nodes:
        return name
    graph = plan.definition.name
    if any(letter in node for letter in NOT_IN_NAMES):
        raise InvalidInput(
            f"{node!r} is a part of a node (an item, pass, compensation, or within a subgraph): fork at a whole node "
            f"of graph {graph!r}",
            graph=graph,
            node=node,
        )
    raise NotFound(f"graph {graph!r} has no node {node!r}: it has {', '.join(plan.order)}", graph=graph, node=node)


def parameters(plan: Plan, name: NodeName) -> tuple[str, ...]:
    """What edges feed of a node, in their order; "" stands for a sole parameter that no edge names."""
    kind = plan.nodes[name].kind
    fed = [edge.into or "" for edge in plan.incoming[name] if edge.mode != "order"]
    return () if kind in _WITHOUT_INPUT else tuple(dict.fromkeys(fed))


def check_edited(plan: Plan, name: NodeName, edited: Mapping[str, Payload]) -> None:
    """Raises `InvalidInput` for a parameter that the node does not have, and for a map that is given no list."""
    known = parameters(plan, name)
    for given, payload in edited.items():
        if given not in known:
            told = (
                f"it takes {', '.join(map(repr, known))}" if known else "nothing that could be edited is handed to it"
            )
            raise InvalidInput(f"node {name!r} takes no {given!r}: {told}", node=name)
        if plan.nodes[name].kind is NodeKind.MAP and given == known[0] and length_of(payload) is None:
            raise InvalidInput(f"node {name!r} is a map: it must be given a list", node=name)


def check_fork(plan: Plan, fork: Fork) -> None:
    """Raises `InvalidInput` and `NotFound` for a fork that does not fit the graph, whoever has made it up."""
    name = check_node(plan, fork.node)
    check_edited(plan, name, fork.edited)
    for taken in fork.taken:
        check_node(plan, taken)
    again = {name, *plan.after(name)} & set(fork.taken)
    if again:
        raise InvalidInput(f"a fork at {name!r} runs {min(again)!r} anew, and cannot take it over", node=min(again))
    lacking = plan.before(name) - set(fork.taken)
    if lacking:
        raise InvalidInput(f"a fork at {name!r} must take over {min(lacking)!r}, which comes before", node=min(lacking))
