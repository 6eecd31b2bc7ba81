"""What a run no longer needs: a value when its last consumer is done with it, nearly all when it is over."""

from collections.abc import Iterable, Sequence

from .commands import Command, PublishNode
from .events import Fork
from .frozen import replace
from .ids import INPUT, NodeKey, NodeName
from .payload import Inline, Payload, Stored
from .plan import Plan
from .state import NodeStatus, RunState, RunStatus

_DONE_WITH_IT = frozenset({NodeStatus.SUCCEEDED, NodeStatus.SKIPPED})
"""A consumer that failed or was cancelled may be tried again, and wants its inputs then."""


RENEW_MS = 24 * 3_600_000
"""How often a durable run lets the stored values that it names count as new: no table of a coordinator names them."""

_LITTLE = 256
"""A text of so many characters costs less to keep than to forget; numbers and references do, too."""

FINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.CANCELLED})
"""A run that has failed may go on."""


def shrunk(state: RunState, intents: Sequence[Command]) -> RunState:
    """A run that is over keeps its result; a failed one also what a retry needs, until the window ends."""
    if state.status not in FINAL:
        return state
    shown = {command.node for command in intents if isinstance(command, PublishNode)}
    nodes = {key: node for key, node in state.nodes.items() if key in shown}
    return replace(state, nodes=nodes, input=None, signals=(), signals_seen=(), fork=without_values(state.fork))


def marker(state: RunState) -> RunState:
    """What remains of a run when all that it decided is sent: enough to recognise it, and its result."""
    return replace(state, nodes={}, input=None, signals=(), signals_seen=(), fork=without_values(state.fork))


def without_values(fork: Fork | None) -> Fork | None:
    """A fork that says only what it goes on from."""
    return None if fork is None else Fork(fork.of, fork.node)


def spent(plan: Plan, state: RunState, ended: Iterable[NodeKey]) -> list[NodeName]:
    """The nodes whose outputs nobody can want any more, now that these have ended.

    Finish points keep theirs for the run's result, and what is compensated, with its inputs, to the run's end.
    """
    candidates: dict[NodeName, None] = {}
    for key in ended:
        if key in plan.nodes:
            name = NodeName(key)
            candidates.update(dict.fromkeys(edge.source for edge in plan.incoming[name] if edge.source != INPUT))
            if not plan.targets[name]:
                candidates[name] = None
    return [name for name in candidates if _is_spent(plan, state, name)]


def _is_spent(plan: Plan, state: RunState, name: NodeName) -> bool:
    node = state.nodes.get(name)
    if node is None or node.output is None or _is_little(node.output):
        return False
    if name in plan.definition.finish or plan.nodes[name].has_compensation:
        return False
    return all(
        target in state.nodes
        and state.nodes[target].status in _DONE_WITH_IT
        and not plan.nodes[target].has_compensation
        for target in plan.targets[name]
    )


def _is_little(output: Payload) -> bool:
    if not isinstance(output, Inline):
        return isinstance(output, Stored)
    value = output.value
    return len(value) <= _LITTLE if isinstance(value, str) else not isinstance(value, list | dict)
