"""Fusion: a worker that is done with a node goes on with the next, without a way through the log.

Of two nodes in a row, where the second gets its only input from the first and the first feeds nobody else,
one worker may run both and report both in one record. The coordinator applies such a segment as one: what
follows an outcome counts only if that outcome did, so that the outcomes of two executions never mix.

Only nodes that lately were quick are fused, and a segment ends when it would last longer than `most_ms`: until
it is reported nobody sees it, and a crash repeats all of it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...domain.definition import Definition, Edge, EdgeMode, Join, NodeKind
from ...domain.events import NodeSucceeded
from ...domain.frozen import replace
from ...domain.ids import GraphHash, NodeKey, NodeName
from ...domain.payload import Inline, Payload
from ...domain.plan import Plan
from ...ports.handlers import Deployment
from ..execution.conversion import own
from ..messages import Argument, NodeReady, Outcome, Segment

FUSED_MOST = 12
"""Each outcome may hold a value of 64 KiB, and a record of them all 1 MB."""

_FORGET = 0.8
"""A node's slowest time counts for so much less at its next execution."""


class _Next(NamedTuple):
    """The node that follows another, and the timeouts that both declare."""

    edge: Edge
    timeout_ms: int | None
    timeout_before_ms: int | None


class Fusion:
    """Knows what may follow what, and how long each node took of late."""

    def __init__(self, deployment: Deployment, *, most_ms: int) -> None:
        self._deployment = deployment
        self._most_ms = most_ms
        self._lines: dict[GraphHash, Mapping[NodeName, _Next]] = {}
        self._pace: dict[tuple[GraphHash, NodeName], float] = {}

    def took(self, work: NodeReady, ms: int) -> None:
        """An execution of this node lasted so long."""
        place = (work.definition, work.name)
        self._pace[place] = max(float(ms), self._pace.get(place, 0.0) * _FORGET)

    def following(self, work: NodeReady, outcome: Outcome, elapsed_ms: int) -> NodeReady | None:
        """The node to go on with after this outcome, its segment having lasted so long; None: report."""
        if not isinstance(outcome, NodeSucceeded) or work.node != work.name or work.role != "handler":
            return None
        found = self._line(work.definition).get(work.name)
        if found is None or work.timeout_ms != found.timeout_before_ms:
            return None  # nothing, or an operator has overridden something of this run
        edge = found.edge
        if edge.branch is not None and edge.branch not in outcome.branches:
            return None
        pace = self._pace.get((work.definition, edge.target))
        if pace is None or elapsed_ms + pace >= self._most_ms:
            return None
        return replace(
            work,
            node=NodeKey(edge.target),
            name=edge.target,
            # A guess: if the node was tried before, the coordinator takes this outcome for a stale one.
            attempt=1,
            arguments=(Argument(edge.into or "", _own(outcome.output)),),
            timeout_ms=found.timeout_ms,
            at_ms=outcome.at_ms,
            resume=False,
            emitted=None,
            shape="",  # its definition is here
        )

    def _line(self, definition: GraphHash) -> Mapping[NodeName, _Next]:
        found = self._lines.get(definition)
        if found is None:
            program = self._deployment.programs.get(definition)
            found = self._lines[definition] = {} if program is None else _lines(program.definition)
        return found


def _own(output: Payload) -> Payload:
    """The output is reported after the next node has got it, which may change it in place."""
    return Inline(own(output.value)) if isinstance(output, Inline) else output


def segment(outcomes: Sequence[Outcome]) -> Segment:
    """The outcomes of nodes in a row as one event."""
    last = outcomes[-1]
    return Segment(run=last.run, key=last.key, at_ms=last.at_ms, outcomes=tuple(outcomes))


def _lines(definition: Definition) -> dict[NodeName, _Next]:
    """What follows each node that feeds one other, which has no other source."""
    plan = Plan(definition)
    lines: dict[NodeName, _Next] = {}
    for name, edges in plan.outgoing.items():
        source = plan.nodes.get(name)
        if source is None or len(edges) != 1:
            continue
        edge = edges[0]
        target = plan.nodes[edge.target]
        if (
            source.kind in (NodeKind.TASK, NodeKind.STREAM)
            and target.kind is NodeKind.TASK
            and target.join is Join.ALL
            and len(plan.incoming[edge.target]) == 1
            and edge.mode is EdgeMode.VALUE
            and source.queue == target.queue
            and not target.limits
        ):
            lines[name] = _Next(edge, target.timeout_ms, source.timeout_ms)
    return lines
