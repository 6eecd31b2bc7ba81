"""What a run waits for inside of its durable children: told from what they show."""

import pytest

from beluga_stream.application.durable.inside import Durable, Inside
from beluga_stream.application.messages import NodeChange, Progress
from beluga_stream.domain.cover import WORKFLOW
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.waiting import Waiting
from tests.unit.graphs import child_of, edges, node, plan

RUN = RunId("a" * 32)
PLAN = plan(
    [node("price"), node("decided", NodeKind.WAIT, signal="decision")], edges("input > price > decided"), ["decided"]
)


def shown(run: str, name: str, status: str, counter: int, at_ms: int, due_ms: int | None = None) -> Progress:
    change = NodeChange(NodeKey(name), status, counter, 1, due_ms=due_ms)
    return Progress(run=RunId(run), graph="g", at_ms=at_ms, nodes=(change,))


def waits(node_key: str, *records: Progress) -> list[Waiting]:
    run = RunId(f"{RUN}.{node_key}")
    inside = Inside([Durable(run, NodeKey(node_key), PLAN, 5)])
    for record in records:
        inside.read(record)
    return list(inside.waits(run))


def test_the_approval_that_a_durable_run_waits_for_is_named() -> None:
    run = f"{RUN}.sale"
    [found] = waits(
        "sale",
        shown(run, "price", "ready", 1, 10),
        shown(run, "price", "succeeded", 2, 20),
        shown(run, "decided", "waiting", 3, 30, due_ms=90_000),
        shown(run, "decided", "waiting", 3, 40, due_ms=90_000),
        shown(f"{RUN}.other", "price", "ready", 4, 50),
    )
    assert found == Waiting(NodeKey("sale/decided"), "signal", "signal 'decision'", 30, 90_000)
    assert found.is_late(200_000, 60_000)


def test_of_a_graph_that_was_started_on_its_own_the_node_is_named_alone() -> None:
    [found] = waits(WORKFLOW, shown(f"{RUN}.{WORKFLOW}", "price", "ready", 1, 10))
    assert (found.node, found.on) == ("price", "worker")


def test_one_that_has_told_nothing_yet_or_has_ended_waits_for_nothing_that_is_known() -> None:
    assert waits("sale") == []
    assert waits("sale", shown(f"{RUN}.sale", "price", "succeeded", 1, 10)) == []


def test_of_a_subgraph_inside_only_its_node_is_known() -> None:
    holder = plan([child_of("part", NodeKind.GRAPH, PLAN)], edges("input > part"), ["part"])
    run = RunId(f"{RUN}.sale")
    inside = Inside([Durable(run, NodeKey("sale"), holder, 5)])
    inside.read(shown(run, "part", "waiting", 1, 10))
    [found] = inside.waits(run)
    assert (found.node, found.on, found.what) == ("sale/part", "child", "run of part")


@pytest.mark.parametrize(("kind", "key"), [(NodeKind.LOOP, "part#2"), (NodeKind.MAP, "part[1]")])
def test_of_a_pass_or_item_inside_its_run_is_known_and_that_its_node_waits_for_it(kind: NodeKind, key: str) -> None:
    holder = plan([child_of("part", kind, PLAN, max_passes=3)], edges("input > part"), ["part"])
    run = RunId(f"{RUN}.sale")
    inside = Inside([Durable(run, NodeKey("sale"), holder, 5)])
    inside.read(shown(run, "part", "waiting", 1, 10))
    inside.read(shown(run, key, "waiting", 2, 20))
    assert [(found.node, found.on, found.what) for found in inside.waits(run)] == [
        ("sale/part", "parts", "its parts"),
        (f"sale/{key}", "child", f"run of {key}"),
    ]
