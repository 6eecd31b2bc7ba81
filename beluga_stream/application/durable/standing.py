"""How a durable run stands, told to whoever asks its workflow."""

from collections.abc import Iterable, Mapping

from ...domain.frozen import Frozen
from ...domain.ids import GraphHash
from ...domain.plan import Plan
from ...domain.state import RunState
from ...domain.waiting import waits


class Waits(Frozen):
    """One reason why the run goes on, for people. Times in epoch milliseconds."""

    run: str
    node: str | None
    on: str
    what: str
    since_ms: int
    due_ms: int | None = None


class Standing(Frozen):
    """How the run stands."""

    status: str
    nodes: dict[str, str]
    waits: tuple[Waits, ...] = ()


def standing_of(root: RunState | None, states: Iterable[RunState], plans: Mapping[GraphHash, Plan]) -> Standing:
    """The run's own nodes, and what it and all its children wait for."""
    if root is None:
        return Standing("running", {})
    waiting = [
        Waits(str(state.run), each.node, each.on, each.what, each.since_ms, each.due_ms)
        for state in states
        if state.definition is not None
        for each in waits(plans[state.definition], state)
    ]
    return Standing(root.status, {str(key): str(node.status) for key, node in root.nodes.items()}, tuple(waiting))
