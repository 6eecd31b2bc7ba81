"""The retry of a whole run, one rule of the reducer at a time: what runs again, and what is left alone."""

from msgspec.structs import replace

from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.domain.events import RetryRequested
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeStatus, RunStatus
from tests.unit.graphs import ONCE, ROOT, chain_of, edge, edges, node, plan
from tests.unit.hand import hand


def test_retry_leaves_alone_what_a_join_had_made_superfluous() -> None:
    graph = plan(
        [
            node("fast"),
            node("slow"),
            node("pick", NodeKind.SELECT, join=Join.FIRST),
            node("last", retry=ONCE),
        ],
        edges("input > fast > pick > last", "input > slow > pick"),
        ["last"],
    )
    play = hand(graph)
    play.done("fast")
    play.broken("last")
    play.again()
    assert play.at("slow").status is NodeStatus.CANCELLED
    play.done("last")
    assert play.state.status is RunStatus.SUCCEEDED


def test_retry_leaves_alone_a_failure_that_somebody_went_on_with() -> None:
    graph = plan(
        [node("risky", retry=ONCE), node("told"), node("last", retry=ONCE)],
        [*edges("input > risky", "told > last"), edge("risky", "told", EdgeMode.OUTCOME)],
        ["last"],
    )
    play = hand(graph)
    play.broken("risky")
    play.done("told")
    play.broken("last")
    play.again()
    assert play.attempts() == ["risky/1", "told/1", "last/1", "last/2"]
    play.done("last")
    assert play.state.status is RunStatus.SUCCEEDED


def test_retry_runs_a_forgiven_failure_again_when_nobody_went_on() -> None:
    graph = plan(
        [node("risky", retry=ONCE, on_failure=OnFailure.CONTINUE), node("last")],
        edges("input > risky > last"),
        ["last"],
    )
    play = hand(graph)
    play.broken("risky")
    assert play.at("last").status is NodeStatus.SKIPPED
    assert play.state.status is RunStatus.FAILED
    play.again()
    play.done("risky")
    play.done("last")
    assert play.state.status is RunStatus.SUCCEEDED


def test_a_join_counts_its_edges_anew_after_a_retry() -> None:
    graph = plan(
        [node("a"), node("b", retry=ONCE), node("c"), node("join")],
        edges("input > a > join", "input > b > join", "input > c > join"),
        ["join"],
    )
    play = hand(graph)
    play.done("a")
    play.broken("b")
    assert play.at("c").status is NodeStatus.CANCELLED
    play.again()
    assert (play.at("join").open, play.at("join").total) == (2, 1)
    play.done("b")
    assert play.at("join").status is NodeStatus.PENDING
    play.done("c")
    assert play.at("join").status is NodeStatus.READY


def test_a_join_does_not_wait_for_what_stays_skipped_after_a_retry() -> None:
    graph = plan(
        [node("a"), node("b", retry=ONCE), node("rare"), node("rarer"), node("join")],
        [*edges("input > a", "input > b > join", "rare > rarer > join"), edge("a", "rare", branch=1)],
        ["join"],
    )
    play = hand(graph)
    play.done("a")
    play.broken("b")
    play.again()
    assert play.at("rarer").status is NodeStatus.SKIPPED
    play.done("b")
    play.done("join")
    assert play.state.status is RunStatus.SUCCEEDED


def test_what_was_never_reached_is_skipped_by_the_retry_that_knows_that_it_cannot_be() -> None:
    graph = plan(
        [
            node("a", retry=ONCE),
            node("b", retry=ONCE, on_failure=OnFailure.CONTINUE),
            node("c"),
            node("told"),
            node("join"),
        ],
        [*edges("input > a > join", "input > b > c > join"), edge("b", "told", EdgeMode.OUTCOME)],
        ["join"],
    )
    play = hand(graph)
    play.broken("a")
    play.again()
    play.broken("b")
    play.done("a")
    play.done("told")
    play.done("join")
    assert play.state.status is RunStatus.SUCCEEDED


def test_a_repeated_retry_request_does_not_retry_again() -> None:
    play = hand(chain_of(1, retry=ONCE))
    play.broken("n0")
    first = RetryRequested(run=ROOT, key=ROOT, at_ms=70)
    for expected in (RunStatus.RUNNING, RunStatus.RUNNING):
        decision = reduce(play.plan, play.state, first)
        assert decision is not None
        play.runs[ROOT] = decision.state
        assert play.state.status is expected
    play.runs[ROOT] = replace(play.state, nodes={**play.state.nodes})
    play.broken("n0")
    assert play.state.status is RunStatus.FAILED
    decision = reduce(play.plan, play.state, first)
    assert decision is not None
    assert decision.state is play.state
