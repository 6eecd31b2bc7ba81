"""What the durable children of runs wait for, told from what they show in the log: only Temporal has their states.

Of a node that starts runs of its own there is told that it waits for one, and not for which node in that.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...domain.cover import WORKFLOW
from ...domain.definition import NodeKind
from ...domain.frozen import replace
from ...domain.ids import NodeKey, RunId, node_of
from ...domain.plan import Plan
from ...domain.state import NodeState, NodeStatus, RunState, RunStatus
from ...domain.waiting import Waiting, waits
from ..messages import Progress


class Durable(NamedTuple):
    """A durable run that a node of another run waits for, with its definition."""

    run: RunId
    node: NodeKey
    plan: Plan
    since_ms: int


class Inside:
    """Folds the progress of these durable runs. Records of others are passed over."""

    def __init__(self, durable: Iterable[Durable]) -> None:
        self._durable = {each.run: each for each in durable}
        self._nodes: dict[RunId, dict[NodeKey, NodeState]] = {}
        self._counters: dict[tuple[RunId, NodeKey], int] = {}

    def read(self, record: Progress) -> None:
        """Take one record, in the log's order."""
        if record.run not in self._durable:
            return
        nodes = self._nodes.setdefault(record.run, {})
        for change in record.nodes:
            place = (record.run, change.node)
            if change.counter > self._counters.get(place, 0):
                self._counters[place] = change.counter
                nodes[change.node] = NodeState(
                    NodeStatus(change.status),
                    attempt=change.attempt,
                    since_ms=record.at_ms,
                    due_ms=change.due_ms,
                    failure=change.failure,
                )

    def waits(self, run: RunId) -> Iterator[Waiting]:
        """What this durable run waits for, its nodes named as readers of its parent's stream see them."""
        durable = self._durable[run]
        state = RunState(
            run=run,
            key="",
            graph=durable.plan.definition.name,
            status=RunStatus.RUNNING,
            digest="",
            trigger="parent",
            started_ms=durable.since_ms,
            nodes={key: _with_child(durable.plan, key, node) for key, node in self._nodes.get(run, {}).items()},
        )
        for waiting in waits(durable.plan, state):
            if waiting.node is None or waiting.on == "nothing":
                continue  # it has told nothing yet, or is between two steps
            if durable.node != WORKFLOW:
                waiting = waiting._replace(node=NodeKey(f"{durable.node}/{waiting.node}"))  # noqa: PLW2901 - renamed
            yield waiting


def _with_child(plan: Plan, key: NodeKey, node: NodeState) -> NodeState:
    """What stands for a run (a subgraph, or an item, page or pass) waits for it, and it is not told of by its id."""
    declared = plan.nodes[node_of(key)]
    is_run = declared.kind is NodeKind.GRAPH or key != declared.name
    if node.status is not NodeStatus.WAITING or not is_run:
        return node
    return replace(node, child=RunId(f"of {key}"))
