"""Overrides: an operator gives a node of one run another timeout or number of attempts than its definition says.

Which ones there may be is checked here, before they are sent. Of what comes all the same, the reducer ignores what
does not fit.
"""

from ..errors import InvalidInput, NotFound
from .definition import LONGEST_TIMEOUT_MS, Node, NodeKind
from .ids import NOT_IN_NAMES, NodeKey, NodeName, RunId
from .plan import Plan
from .retry import MOST_ATTEMPTS

_WITH_HANDLER = frozenset({NodeKind.TASK, NodeKind.STREAM, NodeKind.MAP, NodeKind.LOOP})


def check_values(timeout_ms: int | None, attempts: int | None) -> None:
    """Raises `InvalidInput` for an override of nothing, and for values that no node may have."""
    if timeout_ms is None and attempts is None:
        raise InvalidInput("an override of nothing: give a timeout, a number of attempts, or both")
    if timeout_ms is not None and not 1 <= timeout_ms <= LONGEST_TIMEOUT_MS:
        raise InvalidInput(f"a timeout of {timeout_ms / 1000:g} s is out of range: give above 0 and at most 24 hours")
    if attempts is not None and not 1 <= attempts <= MOST_ATTEMPTS:
        raise InvalidInput(f"{attempts} attempts are out of range: give 1 to {MOST_ATTEMPTS}, the first one included")


def check_target(plan: Plan, run: RunId, node: str) -> NodeName:
    """The node of this name. Raises `NotFound`, and `InvalidInput` for one that has nothing to override."""
    name, graph = NodeName(NodeKey(node)), plan.definition.name
    if name not in plan.nodes:
        if any(letter in node for letter in NOT_IN_NAMES):
            raise InvalidInput(
                f"{node!r} is a part of a node (an item, pass, compensation, or within a subgraph): name the whole "
                f"node, as graph {graph!r} has it, or the subgraph's own run",
                run=run,
                node=node,
            )
        raise NotFound(
            f"run {run} has no node {node!r}: its graph {graph!r} has {', '.join(plan.order)}",
            run=run,
            graph=graph,
            node=node,
        )
    if not _is_executed(plan.nodes[name]):
        raise InvalidInput(
            f"node {node!r} of run {run} is executed by no worker: only what has a handler of its own has a timeout "
            f"and attempts that can be overridden; a subgraph's nodes are those of the child run",
            run=run,
            node=node,
        )
    return name


def _is_executed(node: Node) -> bool:
    return node.kind in _WITH_HANDLER and node.child is None
