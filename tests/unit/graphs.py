"""Definitions for tests: short ways to write them, and those that many tests have in common."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from beluga_stream.domain.definition import Definition, Edge, EdgeMode, Node, NodeKind
from beluga_stream.domain.ids import (
    NodeKey,
    NodeName,
    RunId,
)
from beluga_stream.domain.payload import Gathered, Inline, Paged, Payload
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retry import RetryPolicy

SIGNAL = "go"
ONCE = RetryPolicy(attempts=1)
ROOT = RunId("r" * 32)
MAP_SIZES = (0, 1, 63, 64, 65, 200)


def name(text: str) -> NodeName:
    return NodeName(NodeKey(text))


def node(text: str, kind: NodeKind = NodeKind.TASK, **options: Any) -> Node:
    return Node(name(text), kind, **options)


def edge(source: str, target: str, mode: EdgeMode = EdgeMode.VALUE, branch: int | None = None) -> Edge:
    return Edge(name(source), name(target), mode=mode, branch=branch)


def edges(*lines: str) -> tuple[Edge, ...]:
    """Plain edges, written `"input > a > b"`."""
    found: list[Edge] = []
    for line in lines:
        places = line.split(" > ")
        found += [edge(*pair) for pair in pairwise(places)]
    return tuple(found)


def plan(
    nodes: Iterable[Node], wires: Iterable[Edge], finish: Sequence[str], title: str = "test", **options: Any
) -> Plan:
    return Plan(Definition(title, tuple(nodes), tuple(wires), tuple(map(name, finish)), **options))


def values_of(payload: Payload | None) -> Any:
    """The JSON value of a payload without blobs."""
    match payload:
        case Inline(value):
            return value
        case Gathered(items, None):
            return [values_of(item) for item in items]
        case Gathered(items, names):
            return dict(zip(names, map(values_of, items), strict=True))
        case Paged(pages):
            return [value for each in pages for value in values_of(each)]
        case _:
            raise AssertionError(payload)


def chain_of(length: int, **options: Any) -> Plan:
    names = [f"n{number}" for number in range(length)]
    return plan([node(text, **options) for text in names], edges(" > ".join(["input", *names])), names[-1:])


def fan_of(width: int) -> Plan:
    """One node, then `width` nodes beside one another, then one that joins them."""
    middle = [f"m{number}" for number in range(width)]
    lines = ["input > first", *(f"first > {text} > last" for text in middle)]
    return plan([node(text) for text in ("first", *middle, "last")], edges(*lines), ["last"])


CHILD = plan([node("one", retry=ONCE), node("two", retry=ONCE)], edges("input > one > two"), ["two"], "child")
CHILD_WITH_UNDO = plan(
    [node("book", has_compensation=True), node("pay", retry=ONCE)],
    edges("input > book > pay"),
    ["pay"],
    "saga-child",
)
CHILDREN = {found.hash: found for found in (CHILD, CHILD_WITH_UNDO)}


def child_of(text: str, kind: NodeKind, child: Plan = CHILD, **options: Any) -> Node:
    return node(text, kind, child=child.hash, child_name=child.definition.name, **options)
