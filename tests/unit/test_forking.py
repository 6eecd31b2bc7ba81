"""Forks in the domain: what is taken over, what runs anew, and that it comes to the same end."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from beluga_stream.domain.commands import DispatchNode
from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.domain.events import Failure, Fork, NodeFailed, NodeSucceeded, RunRequested, Taken
from beluga_stream.domain.forking import check_edited, check_fork, check_node, taken_by
from beluga_stream.domain.ids import Incarnation, NodeName, RunId, is_feed, node_of
from beluga_stream.domain.payload import Inline, Payload, length_of
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeStatus, RunState, RunStatus
from beluga_stream.errors import InvalidInput, InvalidState, NotFound
from tests.unit.graphs import ROOT, edge, edges, name, node, plan, values_of
from tests.unit.plays import CALM, ROUGH, Behaviour, Play
from tests.unit.random_plans import plans

seeds = st.integers(0, 2**32)
STILL = replace(CALM, hurries=0.0)
quick = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
DIAMOND = plan([node("a"), node("b"), node("c"), node("d")], edges("input > a > b > d", "a > c > d"), ["d"])


class Remembered(Play):
    """A play whose handlers give what they gave in another one, and whose world is calm."""

    def __init__(self, before: Play, fork: Fork) -> None:
        self.before = before
        super().__init__(before.plan, 1, STILL)
        self.lengths = before.lengths
        requested = self.channels[ROOT].pop()
        assert isinstance(requested, RunRequested)
        self.channels[ROOT].append(
            RunRequested(**{each: getattr(requested, each) for each in requested.__struct_fields__} | {"fork": fork})
        )


def told(play: Play) -> dict[NodeName, Taken]:
    """What readers were told of the nodes: the newest status of each, with output and branches."""
    found: dict[NodeName, Taken] = {}
    for decision in play.logs[ROOT].decisions:
        for key, state in decision.state.nodes.items():
            if key in play.plan.nodes and state.status is not NodeStatus.PENDING:
                kept = found.get(NodeName(key))
                output = state.output or (None if kept is None else kept.output)
                found[NodeName(key)] = Taken(state.status.value, output, state.branches, state.failure)  # type: ignore[arg-type]
    return found


def statuses(of: Mapping[NodeName, Taken]) -> dict[NodeName, str]:
    return {key: taken.status for key, taken in of.items()}


def fork_of(play: Play, at: NodeName) -> Fork:
    known = told(play)
    return Fork(RunId("earlier"), at, {each: known[each] for each in taken_by(play.plan, statuses(known), at, "r")})


def executed(play: Play) -> set[NodeName]:
    """The nodes of the run itself whose handlers were called; items of a map over a stream are in its pages' runs."""
    own = {(run, key) for run, key, _ in play.dispatched if run == ROOT or run.startswith(f"{ROOT}.")}
    return {node_of(key) for run, key in own if not is_feed(key)}


@settings(quick, max_examples=600)
@given(plans(forgiving=False, undo=False), seeds, st.data())
def test_a_fork_gives_the_same_and_executes_only_what_comes_after(plan: Plan, seed: int, data: st.DataObject) -> None:
    assume(all(each.join is Join.ALL for each in plan.nodes.values()))
    before = Play(plan, seed, STILL)
    end = before.run()
    assume(end.status is RunStatus.SUCCEEDED)
    at = data.draw(st.sampled_from([each for each in plan.order if end.nodes[each].status is NodeStatus.SUCCEEDED]))
    after = Remembered(before, fork_of(before, at))
    again = after.run()
    assert again.status is RunStatus.SUCCEEDED
    assert values_of(again.output) == values_of(end.output)
    assert again.fork == Fork(RunId("earlier"), at)
    downstream = {at, *plan.after(at)}
    assert executed(after) == executed(before) & downstream


@settings(quick, max_examples=600)
@given(plans(), seeds, st.sampled_from([CALM, ROUGH]), st.integers(0, 40), st.data())
def test_a_fork_of_any_run_at_any_moment_ends_or_is_refused(
    plan: Plan, seed: int, behaviour: Behaviour, steps: int, data: st.DataObject
) -> None:
    before = Play(plan, seed, behaviour)
    for _ in range(steps):
        before.step()
    assume(ROOT in before.runs and not before.state.compensated)
    at = data.draw(st.sampled_from(plan.order))
    known = statuses(told(before))
    settled = [each for each in plan.before(at) if known.get(each) in ("succeeded", "skipped", "failed", "cancelled")]
    try:
        fork = fork_of(before, at)
    except InvalidState:
        assert (
            len(settled) < len(plan.before(at))
            or before.state.status is not RunStatus.SUCCEEDED
            or known[at] != "succeeded"
        )
        return
    check_fork(plan, fork)
    after = Remembered(before, fork)
    after.behaviour = behaviour
    assert after.run().ended
    assert not {node_of(key) for run, key, _ in after.dispatched if run == ROOT} & set(fork.taken)


def requested(plan: Plan, fork: Fork) -> RunState:
    asked = RunRequested(run=ROOT, key=ROOT, at_ms=1, graph="test", input=Inline(1), digest="d", fork=fork)
    decision = reduce(plan, None, asked)
    assert decision is not None
    return decision.state


def done(value: object, *branches: int) -> Taken:
    return Taken("succeeded", Inline(value), branches)


def test_the_node_and_what_follows_begin_and_what_stands_beside_is_taken() -> None:
    taken = {name("a"): done(1), name("c"): done(3)}
    state = requested(DIAMOND, Fork(RunId("x"), name("b"), taken))
    assert {key: found.status.value for key, found in state.nodes.items()} == {
        "a": "succeeded",
        "c": "succeeded",
        "b": "ready",
        "d": "pending",
    }
    assert taken_by(DIAMOND, dict.fromkeys(DIAMOND.order, "succeeded"), name("b"), "x") == set(taken)


def test_what_has_not_ended_beside_the_node_runs_anew() -> None:
    standing = {name("a"): "succeeded", name("b"): "failed", name("c"): "running"}
    taken = taken_by(DIAMOND, standing, name("b"), "x")
    assert taken == {"a"}
    state = requested(DIAMOND, Fork(RunId("x"), name("b"), {name("a"): done(1)}))
    assert {key for key, found in state.nodes.items() if found.status is NodeStatus.READY} == {"b", "c"}


def test_branches_that_were_taken_stay_taken() -> None:
    way = plan(
        [node("a"), node("b"), node("c"), node("d")],
        [*edges("input > a"), edge("a", "b", branch=0), edge("a", "c", branch=1), *edges("b > d", "c > d")],
        ["d"],
    )
    state = requested(
        way, Fork(RunId("x"), name("d"), {name("a"): done(1, 1), name("c"): done(2), name("b"): Taken("skipped")})
    )
    assert state.nodes[name("d")].status is NodeStatus.READY
    at_c = requested(way, Fork(RunId("x"), name("c"), {name("a"): done(1, 1), name("b"): Taken("skipped")}))
    assert at_c.nodes[name("c")].status is NodeStatus.READY


def test_a_stream_that_is_taken_over_is_read_as_the_list_it_was() -> None:
    reading = plan(
        [node("say", NodeKind.STREAM), node("hear")],
        [*edges("input > say"), edge("say", "hear", EdgeMode.STREAM)],
        ["hear"],
    )
    state = requested(reading, Fork(RunId("x"), name("hear"), {name("say"): done(["a", "b"])}))
    assert state.nodes[name("say")].chunks == 2
    assert state.nodes[name("hear")].status is NodeStatus.READY


def test_a_map_goes_over_the_edited_list() -> None:
    mapped = plan([node("a"), node("over", NodeKind.MAP)], edges("input > a > over"), ["over"])
    edited: dict[str, Payload] = {"": Inline([1, 2, 3])}
    state = requested(mapped, Fork(RunId("x"), name("over"), {name("a"): done([7])}, edited))
    assert state.nodes[name("over")].total == length_of(edited[""])


def test_what_is_taken_over_is_not_undone_when_the_fork_fails() -> None:
    saga = plan([node("book", has_compensation=True), node("pay")], edges("input > book > pay"), ["pay"])
    state = requested(saga, Fork(RunId("x"), name("pay"), {name("book"): done(1)}))
    failed = NodeFailed(
        run=ROOT, key=ROOT, at_ms=2, node=name("pay"), attempt=1, incarnation=Incarnation("i"),
        failure=Failure("boom", "bang"), retryable=False,
    )  # fmt: skip
    decision = reduce(saga, state, failed)
    assert decision is not None
    assert decision.state.status is RunStatus.FAILED
    assert not [command for command in decision.commands if isinstance(command, DispatchNode)]


def test_a_compensation_of_what_the_fork_has_executed_is_its_own() -> None:
    saga = plan([node("book", has_compensation=True), node("pay")], edges("input > book > pay"), ["pay"])
    state = requested(saga, Fork(RunId("x"), name("book")))
    at = {"run": ROOT, "key": ROOT, "at_ms": 2, "attempt": 1, "incarnation": Incarnation("i")}
    booked = reduce(saga, state, NodeSucceeded(**at, node=name("book"), output=Inline(1)))  # type: ignore[arg-type]
    assert booked is not None
    failure = Failure("boom", "bang")
    failed = reduce(saga, booked.state, NodeFailed(**at, node=name("pay"), failure=failure, retryable=False))  # type: ignore[arg-type]
    assert failed is not None
    assert [command.node for command in failed.commands if isinstance(command, DispatchNode)] == ["book~undo"]


def test_a_node_whose_sources_have_not_succeeded_is_refused_by_their_name() -> None:
    with pytest.raises(InvalidState, match="needs what 'b' gives, which is failed") as refused:
        taken_by(DIAMOND, {name("a"): "succeeded", name("b"): "failed", name("c"): "succeeded"}, name("d"), "r1")
    assert refused.value.ids == {"run": "r1", "node": "b"}


def test_a_node_that_was_passed_over_is_refused() -> None:
    line = plan([node("a"), node("b")], [*edges("input > a"), edge("a", "b", branch=0)], ["b", "a"])
    with pytest.raises(InvalidState, match="was skipped"):
        taken_by(line, {name("a"): "succeeded", name("b"): "skipped"}, name("b"), "r1")


def test_a_failure_that_was_gone_on_with_is_taken_over() -> None:
    mild = plan(
        [node("a", on_failure=OnFailure.CONTINUE), node("b"), node("c")], edges("input > a > b", "input > c"), ["c"]
    )
    assert taken_by(mild, {name("a"): "failed", name("b"): "skipped", name("c"): "running"}, name("c"), "r") == {
        "a",
        "b",
    }


def test_a_join_that_had_enough_vouches_for_what_it_did_not_wait_for() -> None:
    race = plan(
        [node("a"), node("b"), node("either", NodeKind.SELECT, join=Join.FIRST), node("last")],
        edges("input > a > either > last", "input > b > either"),
        ["last"],
    )
    ended = {name("a"): "succeeded", name("b"): "cancelled", name("either"): "succeeded", name("last"): "failed"}
    assert taken_by(race, ended, name("last"), "r") == {"a", "b", "either"}
    stopped = {name("a"): "failed", name("b"): "cancelled"}
    with pytest.raises(InvalidState, match="'a'"):
        taken_by(race, stopped, name("either"), "r")


def test_a_finish_point_that_was_stopped_is_not_taken_over_though_a_join_had_enough_without_it() -> None:
    race = plan(
        [node("a"), node("b"), node("either", NodeKind.SELECT, join=Join.FIRST), node("last")],
        edges("input > a > either > last", "input > b > either"),
        ["last", "b"],
    )
    ended = {name("a"): "succeeded", name("b"): "cancelled", name("either"): "succeeded", name("last"): "failed"}
    with pytest.raises(InvalidState, match="needs what 'b' gives"):
        taken_by(race, ended, name("last"), "r")


@pytest.mark.parametrize(
    ("asked", "kind"), [("x", NotFound), ("a[3]", InvalidInput), ("a#2", InvalidInput), ("a/b", InvalidInput)]
)
def test_a_node_that_is_none_is_refused(asked: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        check_node(DIAMOND, asked)


def test_a_fork_that_contradicts_the_graph_is_refused() -> None:
    for fork in (
        Fork(RunId("x"), name("d")),
        Fork(RunId("x"), name("b"), {name("a"): done(1), name("d"): done(1)}),
        Fork(RunId("x"), name("a"), {name("a"): done(1)}),
        Fork(RunId("x"), name("a"), {}, {"nothing": Inline(1)}),
    ):
        with pytest.raises(InvalidInput):
            check_fork(DIAMOND, fork)


def test_only_what_edges_feed_can_be_edited() -> None:
    check_edited(DIAMOND, name("a"), {"": Inline(1)})
    select = plan([node("a"), node("s", NodeKind.SELECT)], edges("input > a > s"), ["s"])
    with pytest.raises(InvalidInput, match="nothing that could be edited"):
        check_edited(select, name("s"), {"": Inline(1)})
    mapped = plan([node("over", NodeKind.MAP)], edges("input > over"), ["over"])
    with pytest.raises(InvalidInput, match="must be given a list"):
        check_edited(mapped, name("over"), {"": Inline(1)})
