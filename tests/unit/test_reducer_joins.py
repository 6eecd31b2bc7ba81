"""Edges and joins, one rule of the reducer at a time: who begins, who waits, who is skipped."""

from beluga_stream.domain.commands import BroadcastCancel, CancelChild, DispatchNode, StartChild
from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.state import NodeStatus, RunStatus
from tests.unit.graphs import ONCE, child_of, edge, edges, node, plan, values_of
from tests.unit.hand import commands, hand


def test_a_join_waits_for_all_and_is_skipped_when_all_are_dead() -> None:
    wires = [
        *edges("input > a", "input > b"),
        edge("a", "both", branch=0),
        edge("b", "both", branch=0),
        *edges("a > last", "both > last"),
    ]
    graph = plan([node(each) for each in ("a", "b", "both", "last")], wires, ["last"])
    for taken, expected in (((), NodeStatus.SKIPPED), ((0,), NodeStatus.READY)):
        play = hand(graph)
        play.done("a")
        assert play.at("both").status is NodeStatus.PENDING
        play.done("b", branches=taken)
        assert play.at("both").status is expected
        if taken:
            play.done("both")
        play.done("last")
        assert play.state.status is RunStatus.SUCCEEDED


def test_order_is_waited_for_and_is_no_reason_to_begin() -> None:
    wires = [*edges("input > a", "input > b"), edge("a", "c", branch=0), edge("b", "c", EdgeMode.ORDER)]
    graph = plan([node("a"), node("b"), node("c")], wires, ["a", "c"])
    play = hand(graph)
    play.done("a", branches=(0,))
    assert play.at("c").status is NodeStatus.PENDING
    play.done("b")
    assert play.at("c").status is NodeStatus.READY
    play = hand(graph)
    play.done("a")
    play.done("b")
    assert play.at("c").status is NodeStatus.SKIPPED


def test_first_takes_the_first_and_cancels_the_rest() -> None:
    graph = plan(
        [node("fast"), node("slow"), node("before"), node("pick", NodeKind.SELECT, join=Join.FIRST)],
        edges("input > before > slow > pick", "input > fast > pick"),
        ["pick"],
    )
    play = hand(graph)
    play.done("fast")
    assert play.state.status is RunStatus.SUCCEEDED
    assert play.state.output == Inline("fast")
    assert play.at("before").status is NodeStatus.CANCELLED
    assert play.at("slow").status is NodeStatus.CANCELLED
    assert [command.attempts for command in commands(play, BroadcastCancel)] == [("before/1",)]


def test_first_does_not_cancel_what_others_wait_for() -> None:
    graph = plan(
        [node("fast"), node("slow"), node("also"), node("pick", NodeKind.SELECT, join=Join.FIRST)],
        edges("input > fast > pick", "input > slow > pick", "slow > also"),
        ["pick", "also"],
    )
    play = hand(graph)
    play.done("fast")
    assert play.at("slow").status is NodeStatus.READY
    play.done("slow")
    play.done("also")
    assert values_of(play.state.output) == {"pick": "fast", "also": "also"}


def test_first_does_not_cancel_a_finish_point() -> None:
    graph = plan(
        [node("fast"), node("slow"), node("pick", NodeKind.SELECT, join=Join.FIRST)],
        edges("input > fast > pick", "input > slow > pick"),
        ["pick", "slow"],
    )
    play = hand(graph)
    play.done("fast")
    play.done("slow")
    assert values_of(play.state.output) == {"pick": "fast", "slow": "slow"}


def test_n_of_gives_the_first_n_in_the_order_of_its_edges() -> None:
    select = node("pick", NodeKind.SELECT, join=Join.N_OF, count=2)
    lines = ("input > a > pick", "input > b > pick", "input > c > pick")
    play = hand(plan([node("a"), node("b"), node("c"), select], edges(*lines), ["pick"]))
    play.done("c")
    assert play.state.status is RunStatus.RUNNING
    play.done("a")
    assert values_of(play.state.output) == ["a", "c"]
    assert play.at("b").status is NodeStatus.CANCELLED


def test_n_of_is_skipped_when_too_few_can_come() -> None:
    select = node("pick", NodeKind.SELECT, join=Join.N_OF, count=2)
    forgiven = [node(each, on_failure=OnFailure.CONTINUE, retry=ONCE) for each in "abc"]
    lines = ("input > a > pick", "input > b > pick", "input > c > pick")
    play = hand(plan([*forgiven, select], edges(*lines), ["pick"]))
    play.broken("a")
    play.broken("b")
    assert play.at("pick").status is NodeStatus.SKIPPED
    play.done("c")
    assert play.state.status is RunStatus.FAILED
    assert play.state.failure is not None
    assert "no finish point was reached" in play.state.failure.message


def test_an_outcome_edge_carries_a_failure_on() -> None:
    graph = plan(
        [node("risky", retry=ONCE), node("told")],
        [*edges("input > risky"), edge("risky", "told", EdgeMode.OUTCOME)],
        ["told"],
    )
    play = hand(graph)
    play.broken("risky")
    assert play.at("told").status is NodeStatus.READY
    play.done("told")
    assert play.state.status is RunStatus.SUCCEEDED


def test_a_long_line_that_ends_at_once_is_no_recursion() -> None:
    kinds = [node(f"n{number}", NodeKind.SELECT) for number in range(2000)]
    line = " > ".join(["input", *(each.name for each in kinds)])
    play = hand(plan(kinds, edges(line), ["n1999"]))
    assert play.state.status is RunStatus.SUCCEEDED


def test_what_fails_at_once_lets_nothing_beside_it_begin() -> None:
    graph = plan(
        [node("a"), node("it", NodeKind.MAP), node("z"), child_of("zz", NodeKind.GRAPH)],
        edges("input > a", "input > it", "input > z", "input > zz"),
        ["z"],
    )
    play = hand(graph, value=3)
    assert play.state.status is RunStatus.FAILED
    assert not commands(play, DispatchNode)
    assert not commands(play, StartChild)
    assert not commands(play, CancelChild)
    play = hand(plan(list(graph.definition.nodes)[::-1], graph.definition.edges[::-1], ["z"]), value=3)
    assert not commands(play, DispatchNode)
