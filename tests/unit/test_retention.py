"""What a run keeps of its values while it goes on, and what is left of it when it is over."""

from collections.abc import Mapping
from typing import Any

import pytest

from beluga_stream.domain.commands import PublishNode
from beluga_stream.domain.events import Fork
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Gathered, Inline, Payload, Sealed, Stored
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retention import marker, shrunk, spent
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus, Signalled
from tests.unit.graphs import ROOT, edges, name, node, plan

LONG = Inline("x" * 257)


def state(statuses: Mapping[str, NodeStatus], *, output: Payload = LONG, **changes: Any) -> RunState:
    known: dict[str, Any] = {"status": RunStatus.RUNNING, "digest": "d", "trigger": "t", "started_ms": 1, **changes}
    nodes = {NodeKey(key): NodeState(status, output=output) for key, status in statuses.items()}
    return RunState(run=ROOT, key=ROOT, graph="g", nodes=nodes, **known)


def fed(finish: str = "last", **options: Mapping[str, Any]) -> Plan:
    """One node that two read, of which one goes on to the last."""
    nodes = [node(each, **options.get(each, {})) for each in ("first", "left", "right", "last")]
    return plan(nodes, edges("input > first > left > last", "first > right > last"), [finish])


S = NodeStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("right", "is_spent"),
    [
        (NodeStatus.SUCCEEDED, True),
        (NodeStatus.SKIPPED, True),
        (NodeStatus.RUNNING, False),
        (NodeStatus.PENDING, False),
        (NodeStatus.FAILED, False),
        (NodeStatus.CANCELLED, False),
    ],
)
def test_a_value_is_kept_until_all_that_read_it_are_done_with_it(right: NodeStatus, *, is_spent: bool) -> None:
    found = spent(fed(), state({"first": S, "left": S, "right": right}), [NodeKey("right")])
    assert found == (["first"] if is_spent else [])
    assert spent(fed(), state({"first": S, "left": S}), [NodeKey("left")]) == []


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (fed("first"), "it is the run's result"),
        (fed(first={"has_compensation": True}), "it is handed to its own compensation"),
        (fed(right={"has_compensation": True}), "it is an input of what may be undone"),
    ],
)
def test_what_the_run_wants_at_its_end_is_kept(of: Plan, why: str) -> None:
    done = dict.fromkeys(("first", "left", "right"), S)
    assert spent(of, state(done), [NodeKey("left"), NodeKey("right")]) == [], why


def test_what_nobody_reads_is_spent_at_once() -> None:
    of = plan([node("a"), node("b")], edges("input > a", "input > b"), ["b"])
    assert spent(of, state({"a": S}), [NodeKey("a")]) == ["a"]


@pytest.mark.parametrize(
    ("output", "is_spent"),
    [
        (Inline("x" * 256), False),
        (LONG, True),
        (Inline([]), True),
        (Inline({}), True),
        (Inline(7), False),
        (Inline(None), False),
        (Stored("r/1", 100_000), False),
        (Sealed("r", b"1"), True),
        (Gathered((Inline(1),)), True),
    ],
)
def test_little_is_not_worth_forgetting(output: Payload, *, is_spent: bool) -> None:
    of = plan([node("a"), node("b")], edges("input > a > b"), ["b"])
    found = spent(of, state({"a": S, "b": S}, output=output), [NodeKey("b")])
    assert found == (["a"] if is_spent else [])


def test_a_run_that_can_be_retried_keeps_what_it_needs_and_any_other_its_result_alone() -> None:
    kept: dict[str, Any] = {"input": LONG, "signals": (Signalled("go", "1", LONG),), "signals_seen": ("1",)}
    fork = Fork(RunId("earlier"), name("first"), {}, {"": LONG})
    failed = state({"first": S}, **kept, fork=fork, status=RunStatus.FAILED)
    assert shrunk(failed, ()) is failed
    ended = replace(failed, status=RunStatus.SUCCEEDED)
    told = PublishNode(NodeKey("first"), S, 1, 1)
    assert list(shrunk(ended, [told]).nodes) == ["first"], "readers have not been shown it yet"
    bare = replace(ended, nodes={}, input=None, signals=(), signals_seen=(), fork=Fork(fork.of, fork.node))
    assert shrunk(ended, ()) == marker(ended) == bare
