"""Random definitions, of all kinds of nodes, edges and limits."""

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from beluga_stream.domain.definition import Edge, EdgeMode, Join, Node, NodeKind, OnFailure
from beluga_stream.domain.ids import (
    INPUT,
    NodeName,
)
from beluga_stream.domain.limit import Limit
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retry import RetryPolicy
from tests.unit.graphs import CHILD, CHILD_WITH_UNDO, SIGNAL, edge, node, plan

NODE_LIMITS = (
    Limit("one", at_once=1),
    Limit("two", key="customer", at_once=2),
    Limit("even", rate=5, per_ms=1_000),
    Limit("both", at_once=3, rate=30, per_ms=1_000),
)
RUN_LIMITS = (Limit("runs", at_once=1), Limit("begins", rate=2, per_ms=1_000))

KINDS = (
    *[NodeKind.TASK] * 4,
    NodeKind.STREAM,
    NodeKind.MAP,
    NodeKind.LOOP,
    NodeKind.GRAPH,
    NodeKind.SELECT,
    NodeKind.WAIT,
    NodeKind.SLEEP,
)


@st.composite
def plans(draw: st.DrawFn, most: int = 8, *, forgiving: bool = True, undo: bool = True) -> Plan:
    """Random graphs of every kind of node, join and edge."""
    size = draw(st.integers(1, most))
    rnd = random.Random(draw(st.integers(0, 2**32)))
    found = random_plan(rnd, size, forgiving=forgiving, undo=undo)
    return with_limits(rnd, found) if draw(st.booleans()) else found


def random_plan(rnd: random.Random, size: int, *, forgiving: bool = True, undo: bool = True) -> Plan:
    nodes: list[Node] = []
    wires: list[Edge] = []
    for number in range(size):
        kind = rnd.choice(KINDS)
        text = f"{kind.value}{number}"
        before = [INPUT, *(each.name for each in nodes)]
        sources = rnd.sample(before, rnd.randint(1, min(len(before), 4)))
        incoming = [_edge(rnd, source, text, outcome=forgiving) for source in sources]
        if kind is NodeKind.MAP:
            # A list comes from the input or a handler, a stream from one that yields; the other edges only order.
            giving = (NodeKind.TASK, NodeKind.STREAM)
            feeding = rnd.choice([source for source in before if source == INPUT or node_kind(source) in giving])
            others = [replace(wire, mode=EdgeMode.ORDER, branch=None) for wire in incoming]
            live = feeding != INPUT and node_kind(feeding) is NodeKind.STREAM and rnd.random() < 0.8
            mapped = edge(feeding, text, EdgeMode.STREAM if live else EdgeMode.VALUE)
            incoming = [mapped, *(wire for wire in others if wire.source != feeding)]
        elif all(wire.mode is EdgeMode.ORDER for wire in incoming):
            incoming[0] = replace(incoming[0], mode=EdgeMode.VALUE)
        data = sum(wire.mode is not EdgeMode.ORDER for wire in incoming)
        options = _options(rnd, kind, data, undo=undo)
        if forgiving and rnd.random() < 0.2:
            options["on_failure"] = OnFailure.CONTINUE
        nodes.append(node(text, kind, **options))
        wires += incoming
    used = {wire.source for wire in wires}
    sinks = [each.name for each in nodes if each.name not in used]
    finish = rnd.sample(sinks, rnd.randint(1, len(sinks)))
    if rnd.random() < 0.2:
        finish.append(rnd.choice(nodes).name)
    return plan(nodes, wires, sorted(set(finish)))


def with_limits(rnd: random.Random, of: Plan, share: float = 0.4) -> Plan:
    """The plan with limits on some of what runs handlers, and maybe on its runs."""

    def some(limits: Sequence[Limit]) -> tuple[Limit, ...]:
        return tuple(rnd.sample(limits, rnd.randint(1, 2))) if rnd.random() < share else ()

    can = (NodeKind.TASK, NodeKind.STREAM, NodeKind.MAP, NodeKind.LOOP)
    nodes = tuple(
        replace(each, limits=some(NODE_LIMITS)) if each.kind in can and each.child is None else each
        for each in of.definition.nodes
    )
    return Plan(replace(of.definition, nodes=nodes, limits=some(RUN_LIMITS)))


def _edge(rnd: random.Random, source: NodeName, target: str, *, outcome: bool) -> Edge:
    modes = [*[EdgeMode.VALUE] * 6, EdgeMode.ORDER, EdgeMode.STREAM]
    if source != INPUT and node_kind(source) is NodeKind.STREAM:
        modes += [EdgeMode.STREAM] * 6
    if outcome and source != INPUT:
        modes.append(EdgeMode.OUTCOME)
    mode = rnd.choice(modes)
    handler = source != INPUT and node_kind(source) in (NodeKind.TASK, NodeKind.STREAM)
    branch = rnd.choice([None, 0, 1]) if handler and mode is EdgeMode.VALUE else None
    return edge(source, target, mode, branch)


def node_kind(text: str) -> NodeKind:
    return NodeKind(text.rstrip("0123456789"))


def _options(rnd: random.Random, kind: NodeKind, sources: int, *, undo: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"retry": RetryPolicy(attempts=rnd.randint(1, 3), first_ms=rnd.choice([1, 1000]))}
    match kind:
        case NodeKind.TASK | NodeKind.STREAM:
            options["has_fallback"] = rnd.random() < 0.2
            options["has_compensation"] = undo and rnd.random() < 0.2
            options["resume"] = kind is NodeKind.STREAM and rnd.random() < 0.4
        case NodeKind.MAP:
            options["max_parallel"] = rnd.choice([1, 2, 64, 128])
            options["has_fallback"] = rnd.random() < 0.2
            if rnd.random() < 0.3:
                options |= {"child": CHILD.hash, "child_name": "child", "max_parallel": 2}
        case NodeKind.LOOP:
            options["max_passes"] = rnd.randint(1, 3)
            if rnd.random() < 0.3:
                options |= {"child": CHILD.hash, "child_name": "child"}
            else:
                options["has_fallback"] = rnd.random() < 0.2
        case NodeKind.GRAPH:
            child = CHILD_WITH_UNDO if undo and rnd.random() < 0.3 else CHILD
            options |= {"child": child.hash, "child_name": child.definition.name}
            options["has_fallback"] = rnd.random() < 0.2
            options["has_compensation"] = undo and rnd.random() < 0.3
        case NodeKind.SELECT:
            options["join"] = rnd.choice(list(Join))
            options["count"] = rnd.randint(1, sources)
        case NodeKind.WAIT:
            options["signal"] = SIGNAL
            options["timeout_ms"] = rnd.choice([None, 5_000])
            options["remind_ms"] = rnd.choice([None, 2_000, 9_000])
        case NodeKind.SLEEP:
            options["timeout_ms"] = rnd.choice([0, 500])
    return options
