"""A run that waits for nothing, which only a defect can make, is taken up again or fails; others are left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from beluga_stream.domain.commands import DispatchNode
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import NodeSucceeded, RunStalled
from beluga_stream.domain.ids import Incarnation, NodeKey, undo_key
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus
from beluga_stream.domain.waiting import waits
from tests.unit.graphs import ROOT, edges, name, node, plan
from tests.unit.plays import ROUGH, Play
from tests.unit.random_plans import plans
from tests.unit.test_reducer_properties import quick

STALLED = RunStalled(run=ROOT, key=ROOT, at_ms=99)
DONE = NodeState(NodeStatus.SUCCEEDED, attempt=1, tries=1, output=Inline([1, 2]), ended=3)
TWO = plan([node("a"), node("b")], edges("input > a > b"), ["b"])


def state_of(of: Plan, nodes: dict[str, NodeState], **changes: Any) -> RunState:
    return RunState(
        run=ROOT,
        key=ROOT,
        graph="test",
        definition=of.hash,
        status=changes.pop("status", RunStatus.RUNNING),
        digest="d",
        trigger="api",
        input=Inline(1),
        started_ms=1,
        nodes={NodeKey(key): found for key, found in nodes.items()},
        counter=9,
        **changes,
    )


def mended(of: Plan, state: RunState) -> Decision:
    assert [waiting.on for waiting in waits(of, state)][-1] == "nothing"
    decision = reduce(of, state, STALLED)
    assert decision is not None
    assert decision.state.ended or "nothing" not in [waiting.on for waiting in waits(of, decision.state)]
    return decision


def dispatched(decision: Decision) -> list[tuple[str, int]]:
    return [(each.node, each.attempt) for each in decision.commands if isinstance(each, DispatchNode)]


@pytest.mark.parametrize("miscounted", [NodeState(open=1), NodeState(open=0), None], ids=str)
def test_a_node_whose_edges_allow_it_begins(miscounted: NodeState | None) -> None:
    nodes = {"a": DONE} | ({} if miscounted is None else {"b": miscounted})
    assert dispatched(mended(TWO, state_of(TWO, nodes, active=5))) == [("b", 1)]


def test_a_run_whose_nodes_have_ended_ends() -> None:
    decision = mended(TWO, state_of(TWO, {"a": DONE, "b": DONE}, active=1))
    assert decision.state.status is RunStatus.SUCCEEDED
    assert decision.state.output == DONE.output


def test_the_items_that_are_left_of_a_map_begin() -> None:
    of = plan([node("a"), node("m", NodeKind.MAP)], edges("input > a > m"), ["m"])
    waiting = NodeState(NodeStatus.WAITING, attempt=1, next=2, total=2, open=1)
    failed = NodeState(NodeStatus.CANCELLED, attempt=1, tries=1, ended=4)
    decision = mended(of, state_of(of, {"a": DONE, "m": waiting, "m[0]": DONE, "m[1]": failed}, active=1))
    assert dispatched(decision) == [("m[1]", 2)]


def test_the_next_compensation_begins() -> None:
    of = plan([node("a", has_compensation=True), node("b")], edges("input > a > b"), ["b"])
    failed = NodeState(NodeStatus.FAILED, attempt=1, tries=1, ended=4)
    state = state_of(of, {"a": DONE, "b": failed}, active=0, status=RunStatus.COMPENSATING)
    assert dispatched(mended(of, state)) == [(undo_key(name("a")), 1)]


def test_what_cannot_go_on_fails_and_may_be_retried() -> None:
    of = plan([node("m", NodeKind.MAP)], edges("input > m"), ["m"])
    decision = mended(of, state_of(of, {"m": NodeState(NodeStatus.WAITING, attempt=1)}, active=1))
    assert decision.state.status is RunStatus.FAILED
    assert decision.state.failure is not None
    assert decision.state.failure.code == "invalid_state"
    assert not decision.state.compensated


@quick
@given(plans(), st.integers(0, 2**32), st.integers(0, 40))
def test_a_run_that_waits_for_something_is_left_alone(of: Plan, seed: int, steps: int) -> None:
    play = Play(of, seed, ROUGH)
    for _ in range(steps):
        play.step()
    for run, state in play.runs.items():
        known = replace(STALLED, run=run, key=state.key)
        assert reduce(play.logs[run].plan, state, known) == Decision(state)


def test_the_run_goes_on_to_its_end() -> None:
    decision = mended(TWO, state_of(TWO, {"a": DONE}, active=2))
    known: dict[str, Any] = {"run": ROOT, "key": ROOT, "at_ms": 100, "node": NodeKey("b"), "attempt": 1}
    end = reduce(TWO, decision.state, NodeSucceeded(**known, incarnation=Incarnation("i"), output=Inline("out")))
    assert end is not None
    assert end.state.status is RunStatus.SUCCEEDED
