"""Runs within runs, one rule of the reducer at a time."""

from typing import Any

from beluga_stream.domain.commands import NotifyParent
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import CancelRequested, ChildFinished, RetryRequested
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeStatus, RunStatus
from tests.unit.graphs import CHILD, CHILD_WITH_UNDO, ROOT, child_of, edges, plan
from tests.unit.hand import Hand, hand


def parent_of(child: Plan, **options: Any) -> Plan:
    return plan([child_of("sub", NodeKind.GRAPH, child, **options)], edges("input > sub"), ["sub"])


def play_with_child(child: Plan = CHILD, **options: Any) -> tuple[Hand, RunId]:
    play = hand(parent_of(child, **options))
    play.step()
    run = play.at("sub").child
    assert run is not None
    return play, run


def test_a_failed_child_goes_on_and_its_earlier_end_told_again_is_no_news() -> None:
    play, run = play_with_child()
    play.done("one", run=run)
    play.broken("two", run=run)
    play.run()
    told = next(event for event in play.logs[ROOT].events if isinstance(event, ChildFinished))
    assert play.state.status is RunStatus.FAILED
    play.again()
    play.step()
    assert play.at("sub").child == run
    before = play.state
    play.deliver(told)
    assert play.state is before
    play.done("two", run=run)
    play.run()
    assert play.state.status is RunStatus.SUCCEEDED


def test_an_undone_child_is_begun_anew() -> None:
    play, run = play_with_child(CHILD_WITH_UNDO)
    play.done("book", run=run)
    play.broken("pay", run=run)
    play.done("book~undo", run=run)
    play.run()
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert play.at("sub").child not in (None, run)


def test_a_refused_retry_is_answered_as_news_and_once() -> None:
    play, run = play_with_child(CHILD_WITH_UNDO)
    play.done("book", run=run)
    play.broken("pay", run=run)
    play.done("book~undo", run=run)
    child = play.runs[run]
    request = RetryRequested(run=run, key=run, at_ms=0, id="from its parent")
    answer = reduce(CHILD_WITH_UNDO, child, request)
    assert answer is not None
    assert isinstance(answer.commands[-1], NotifyParent)
    assert answer.state.counter > child.counter
    assert answer.state.status is RunStatus.FAILED
    assert reduce(CHILD_WITH_UNDO, answer.state, request) == Decision(answer.state)


def test_a_child_cancelled_by_hand_is_begun_anew() -> None:
    play, run = play_with_child()
    play.deliver(CancelRequested(run=run, key=run, at_ms=0))
    play.run()
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert play.at("sub").child not in (None, run)


def test_a_child_that_ended_meanwhile_answers_its_parents_retry() -> None:
    play, run = play_with_child()
    play.done("one", run=run)
    play.broken("two", run=run)
    play.run()
    assert play.state.status is RunStatus.FAILED
    # Somebody retries the child itself; its parent has failed and does not listen.
    play.deliver(RetryRequested(run=run, key=run, at_ms=0, id="by hand"))
    play.done("two", run=run)
    play.step()
    assert play.state.status is RunStatus.FAILED
    play.again()
    play.step()
    play.step()
    assert play.state.status is RunStatus.SUCCEEDED


def test_the_fallback_of_a_subgraph_is_a_handler_and_its_retry_another_run() -> None:
    play, run = play_with_child(has_fallback=True)
    play.broken("one", run=run)
    play.step()
    assert play.at("sub").status is NodeStatus.READY
    assert play.at("sub").child is None
    play.broken("sub")
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert play.at("sub").child not in (None, run)


def test_cancel_reaches_children_that_have_not_begun() -> None:
    play = hand(parent_of(CHILD))
    waiting = play.channels[play.at("sub").child].popleft()
    play.deliver(CancelRequested(run=ROOT, key=ROOT, at_ms=0))
    play.step()
    child = play.runs[waiting.run]
    assert child.status is RunStatus.CANCELLED
    play.deliver(waiting)
    assert play.runs[waiting.run].status is RunStatus.CANCELLED
    assert not play.dispatched
