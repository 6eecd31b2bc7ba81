"""Whole runs, one rule of the reducer at a time: starts, cancels, deadlines, compensation, overrides."""

from typing import Any

from msgspec.json import encode

from beluga_stream.application.coordinator.children import start_child
from beluga_stream.application.coordinator.rendering import node_ready
from beluga_stream.domain.commands import BroadcastCancel, DispatchNode, NotifyParent, RejectRun, StartChild
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    CancelRequested,
    ChildFinished,
    Failure,
    NodeOverridden,
    Parent,
    RetryRequested,
    RunRequested,
    TimerFired,
)
from beluga_stream.domain.ids import NodeKey, RunId, undo_key
from beluga_stream.domain.limit import Limit
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.reducer import overflow, reduce
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NodeStatus, RunStatus
from beluga_stream.domain.waiting import waits
from tests.unit.graphs import ONCE, ROOT, chain_of, edges, name, node, plan
from tests.unit.hand import commands, hand, signalled


def requested(**changes: Any) -> RunRequested:
    known: dict[str, Any] = {
        "run": ROOT,
        "key": ROOT,
        "at_ms": 9,
        "graph": "test",
        "input": Inline(1),
        "digest": "d",
    }
    return RunRequested(**{**known, **changes})


def test_a_cancel_before_its_run_leaves_a_marker() -> None:
    graph = chain_of(1)
    marked = reduce(None, None, CancelRequested(run=ROOT, key=ROOT, at_ms=5, reason="changed mind"))
    assert marked is not None
    assert marked.state.ended_ms == 5
    assert marked.state.failure == Failure("task_canceled", "changed mind")
    parent = Parent(RunId("p"), "p", NodeKey("sub"))
    told = reduce(graph, marked.state, requested(parent=parent))
    assert told is not None
    assert told.state.status is RunStatus.CANCELLED
    assert told.state.graph == "test"
    # A reader and the parent wait for this run, whoever cancelled it.
    assert [type(command).__name__ for command in told.commands] == ["PublishRun", "NotifyParent"]
    again = reduce(graph, told.state, requested(parent=parent))
    assert again is not None
    assert again.state is told.state
    assert not again.commands


def test_a_child_that_has_ended_says_so_again_when_its_parent_asks_and_at_no_other_time() -> None:
    parent = Parent(RunId("p"), "p", NodeKey("sub"))
    graph = chain_of(1)
    begun = reduce(graph, None, requested(parent=parent))
    assert begun is not None
    goes_on = reduce(graph, begun.state, requested(parent=parent, again=True))
    assert goes_on == Decision(begun.state)
    ended = reduce(graph, begun.state, CancelRequested(run=ROOT, key=ROOT, at_ms=5))
    assert ended is not None
    assert reduce(graph, ended.state, requested(parent=parent)) == Decision(ended.state)
    assert reduce(graph, ended.state, requested(parent=parent, again=True)) == Decision(ended.state, (NotifyParent(),))


def test_the_same_key_with_another_input_is_refused_and_the_run_untouched() -> None:
    play = hand(chain_of(1))
    answer = reduce(play.plan, play.state, requested(digest="other"))
    assert answer is not None
    assert answer.state is play.state
    assert isinstance(answer.commands[0], RejectRun)
    assert answer.commands[0].code == "idempotency_conflict"


def test_a_run_that_is_late_fails_and_is_compensated_whatever_its_deadline() -> None:
    graph = plan(
        [node("book", has_compensation=True), node("pay", has_compensation=True), node("last")],
        edges("input > book > pay > last"),
        ["last"],
        timeout_ms=1000,
    )
    play = hand(graph)
    play.done("book")
    play.done("pay")
    late = TimerFired(run=ROOT, key=ROOT, at_ms=0, node=None, attempt=0, due_ms=play.state.due_ms or 0)
    play.deliver(late)
    assert play.state.status is RunStatus.COMPENSATING
    assert play.attempts()[-1] == "pay~undo/1"
    before = play.state
    play.deliver(late)
    assert play.state is before
    play.done("pay~undo")
    play.done("book~undo")
    assert play.state.status is RunStatus.FAILED
    assert play.state.failure is not None
    assert play.state.failure.code == "timeout"


def test_who_starts_a_run_may_allow_it_less_than_its_graph_does_each_time_that_it_goes_on() -> None:
    graph = plan([node("a", retry=ONCE)], edges("input > a"), ["a"], timeout_ms=1000)
    begun = reduce(graph, None, requested(timeout_ms=40))
    assert begun is not None
    assert begun.state.due_ms == 49
    late = reduce(graph, begun.state, TimerFired(run=ROOT, key=ROOT, at_ms=49, node=None, attempt=0, due_ms=49))
    assert late is not None
    assert late.state.failure == Failure("timeout", "the run did not end within 0.04 s")
    again = reduce(graph, late.state, RetryRequested(run=ROOT, key=ROOT, at_ms=100, id="again"))
    assert again is not None
    assert again.state.due_ms == 140
    longer = reduce(graph, None, requested(timeout_ms=5000))
    assert longer is not None
    assert longer.state.due_ms == 1009


def test_a_run_waits_for_its_slots_no_longer_than_who_started_it_allows() -> None:
    graph = plan([node("a")], edges("input > a"), ["a"], limits=(Limit("one", at_once=1, wait_ms=500),))
    for timeout_ms, due in ((40, 49), (900, 509)):
        begun = reduce(graph, None, requested(timeout_ms=timeout_ms))
        assert begun is not None
        assert (begun.state.status, begun.state.due_ms) == (RunStatus.LIMITED, due)
        assert waits(graph, begun.state)[0].since_ms == 9


def test_the_timeout_of_a_start_is_no_part_of_what_its_key_stands_for() -> None:
    begun = reduce(chain_of(1), None, requested(timeout_ms=40))
    assert begun is not None
    assert reduce(chain_of(1), begun.state, requested(timeout_ms=7)) == Decision(begun.state)


def test_the_end_of_what_an_earlier_run_of_the_id_had_started_is_no_news() -> None:
    child = plan([node("one")], edges("input > one"), ["one"], "child")
    graph = plan([node("sub", NodeKind.GRAPH, child=child.hash)], edges("input > sub"), ["sub"])
    begun = reduce(graph, None, requested(at_ms=2_000))
    assert begun is not None
    (started,) = (command for command in begun.commands if isinstance(command, StartChild))
    parent = start_child(graph, begun.state, started, 2_000).parent
    assert parent is not None
    ends = {"run": ROOT, "key": ROOT, "at_ms": 2_001, "node": started.node, "child": started.child, "counter": 9}
    for status in ("succeeded", "cancelled"):
        late = ChildFinished(**ends, status=status, began=1_000)
        assert reduce(graph, begun.state, late) == Decision(begun.state)
    ended = reduce(graph, begun.state, ChildFinished(**ends, status="succeeded", output=Inline(3), began=parent.began))
    assert ended is not None
    assert (ended.state.status, ended.state.output) == (RunStatus.SUCCEEDED, Inline(3))


def test_a_compensation_that_fails_is_told_and_the_others_run_on() -> None:
    graph = plan(
        [node(each, has_compensation=True, has_fallback=True, retry=ONCE) for each in ("book", "pay")]
        + [node("last", retry=ONCE)],
        edges("input > book > pay > last"),
        ["last"],
    )
    play = hand(graph)
    play.done("book")
    play.done("pay")
    play.broken("last")
    play.broken("pay~undo")
    # The fallback stands in for the node, not for its compensation.
    assert play.at("pay~undo").status is NodeStatus.FAILED
    play.done("book~undo")
    assert play.state.failure is not None
    assert play.state.failure.message == "bang; compensation of pay failed too: bang"
    assert undo_key(name("book")) in play.state.nodes
    play.again()
    assert play.state.status is RunStatus.FAILED  # what is undone cannot be taken up again


def test_generations_let_a_retry_outlive_the_cancel_before_it() -> None:
    graph = plan([node("a", retry=ONCE), node("b")], edges("input > a", "input > b"), ["a"])
    play = hand(graph)
    began = play.state.generation
    play.broken("a")
    assert [command.generation for command in commands(play, BroadcastCancel)] == [began + 1]
    play.again()
    assert play.state.generation == began + 1
    assert play.attempts() == ["a/1", "b/1", "a/2", "b/2"]


def test_a_later_run_of_the_same_id_is_above_the_generations_of_the_one_before_it() -> None:
    graph = plan([node("a", retry=ONCE), node("b")], edges("input > a", "input > b"), ["a"])
    before = hand(graph)
    before.broken("a")
    later = reduce(graph, None, requested(at_ms=before.state.started_ms + 86_400_000))
    assert later is not None
    assert later.state.generation > before.state.generation


def test_a_state_that_outgrows_its_record_ends_without_its_values() -> None:
    graph = plan([node("a", has_compensation=True), node("b")], edges("input > a > b"), ["b"])
    play = hand(graph)
    play.deliver(signalled("early", "long" * 1000))
    play.done("a", "long" * 1000)
    decision = overflow(graph, play.state, "too long", 5)
    play.runs[ROOT] = decision.state
    assert decision.state.status is RunStatus.FAILED
    assert decision.state.failure is not None
    assert decision.state.failure.code == "resource_exhausted"
    assert b"longlong" not in encode(decision.state)
    assert not [each for each in decision.commands if isinstance(each, DispatchNode)]
    play.again()
    assert play.state is decision.state


def test_an_operator_overrides_attempts_and_timeout_of_one_run() -> None:
    of = plan([node("a", retry=RetryPolicy(5), timeout_ms=1_000)], edges("input > a"), ["a"])
    play = hand(of)
    override = NodeOverridden(run=ROOT, key=ROOT, at_ms=0, node=name("a"), timeout_ms=9_000, attempts=1)
    play.deliver(override)
    assert reduce(of, play.state, override) == Decision(play.state), "told twice it changes nothing"
    work = node_ready(of, play.state, DispatchNode(name("a"), 1), 0)
    assert work is not None
    assert work.timeout_ms == 9_000
    play.broken("a", retryable=True)
    assert play.state.status is RunStatus.FAILED, "one attempt is all it may have now"


def test_an_override_leaves_a_pause_as_it_is_and_the_attempt_after_it() -> None:
    of = plan([node("a", retry=RetryPolicy(5), timeout_ms=1_000)], edges("input > a"), ["a"])
    play = hand(of)
    play.broken("a", retryable=True)
    pause = play.state.nodes[name("a")]
    assert pause.status is NodeStatus.BACKOFF
    play.deliver(NodeOverridden(run=ROOT, key=ROOT, at_ms=0, node=name("a"), timeout_ms=9_000, attempts=1))
    assert play.state.nodes[name("a")] == pause
    play.fire("a")
    work = node_ready(of, play.state, DispatchNode(name("a"), 2), 0)
    assert work is not None
    assert work.timeout_ms == 9_000
    play.broken("a", retryable=True)
    assert play.state.status is RunStatus.FAILED
