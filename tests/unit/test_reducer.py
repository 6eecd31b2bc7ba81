"""One rule of the reducer at a time: joins, waits, loops, retries, children, cancel, compensation."""

from typing import Any

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from beluga_stream.application.rendering import node_ready
from beluga_stream.domain.commands import (
    BroadcastCancel,
    CancelChild,
    DispatchNode,
    NotifyParent,
    RejectRun,
    StartChild,
)
from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    CancelRequested,
    ChildFinished,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeOverridden,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
    TimerFired,
)
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId, undo_key
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import SIGNAL_BUFFER, overflow, reduce
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus, timers
from tests.unit.graphs import (
    CHILD,
    CHILD_WITH_UNDO,
    ONCE,
    ROOT,
    SIGNAL,
    Play,
    chain_of,
    child_of,
    edge,
    edges,
    name,
    node,
    plan,
    values_of,
)


class Hand(Play):
    """A play whose workers do nothing by themselves: each test says what happens."""

    def _work(self, of: Plan, state: RunState, key: NodeKey, attempt: int) -> None:
        self.dispatched.append((state.run, key, attempt))

    def at(self, key: str) -> NodeState:
        return self.state.nodes[NodeKey(key)]

    def known(self, key: str, run: RunId = ROOT) -> dict[str, Any]:
        attempt = self.runs[run].nodes[NodeKey(key)].attempt
        return {"run": run, "key": run, "at_ms": 0, "node": NodeKey(key), "attempt": attempt}

    def done(self, key: str, value: object = None, run: RunId = ROOT, **more: Any) -> None:
        known = {**self.known(key, run), "incarnation": Incarnation("i"), **more}
        self.deliver(NodeSucceeded(**known, output=Inline(key if value is None else value)))

    def broken(self, key: str, *, retryable: bool = False, run: RunId = ROOT) -> None:
        known = {**self.known(key, run), "incarnation": Incarnation("i")}
        self.deliver(NodeFailed(**known, failure=Failure("boom", "bang"), retryable=retryable))

    def again(self) -> None:
        self.deliver(RetryRequested(run=ROOT, key=ROOT, at_ms=0))

    def fire(self, key: str | None) -> None:
        """Let the state's deadline for this node pass."""
        due = next(timer for timer in timers(self.state) if timer.node == key)
        self.clock = due.due_ms
        event = TimerFired(run=ROOT, key=ROOT, at_ms=0, node=due.node, attempt=due.attempt, due_ms=due.due_ms)
        self.deliver(event)

    def attempts(self) -> list[str]:
        return [f"{key}/{attempt}" for _, key, attempt in self.dispatched]


def hand(of: Plan, **options: Any) -> Hand:
    play = Hand(of, **options)
    play.step()
    return play


def commands(play: Play, kind: type) -> list[Any]:
    return [
        command for decision in play.logs[ROOT].decisions for command in decision.commands if isinstance(command, kind)
    ]


# ------------------------------------------------------------------------------- edges and joins


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


# ---------------------------------------------------------------------------- waits and signals


def waiting(**options: Any) -> Plan:
    return plan(
        [node("before"), node("wait", NodeKind.WAIT, signal=SIGNAL, **options)],
        edges("input > before > wait"),
        ["wait"],
    )


def signalled(sent: str, value: object = None) -> SignalReceived:
    return SignalReceived(
        run=ROOT, key=ROOT, at_ms=0, signal=SIGNAL, id=sent, value=Inline(sent if value is None else value)
    )


def test_a_signal_may_come_before_its_wait() -> None:
    play = hand(waiting())
    play.deliver(signalled("one"))
    play.deliver(signalled("two"))
    play.done("before")
    assert play.state.output == Inline("one")
    assert [each.id for each in play.state.signals] == ["two"]


def test_a_repeated_signal_counts_once() -> None:
    play = hand(waiting())
    play.deliver(signalled("one"))
    before = play.state
    play.deliver(signalled("one", "changed"))
    assert play.state is before


def test_early_signals_are_bounded_and_the_oldest_gives_way() -> None:
    play = hand(waiting())
    for number in range(SIGNAL_BUFFER + 1):
        play.deliver(signalled(f"s{number}"))
    assert len(play.state.signals) == SIGNAL_BUFFER
    play.done("before")
    assert play.state.output == Inline("s1")


def test_one_signal_wakes_one_wait() -> None:
    waits = [node(each, NodeKind.WAIT, signal=SIGNAL) for each in ("b", "a")]
    play = hand(plan(waits, edges("input > a", "input > b"), ["a", "b"]))
    play.deliver(signalled("one"))
    assert play.at("a").status is NodeStatus.SUCCEEDED
    assert play.at("b").status is NodeStatus.WAITING


@pytest.mark.parametrize(
    ("timeout_ms", "remind_ms", "deadlines"),
    [
        (100, None, [100]),
        (100, 30, [30, 100]),
        (100, 100, [100]),
        (100, 200, [100]),
        (None, 30, [30]),
        (None, None, []),
    ],
)
def test_a_wait_reminds_once_and_then_times_out(
    timeout_ms: int | None, remind_ms: int | None, deadlines: list[int]
) -> None:
    play = hand(waiting(timeout_ms=timeout_ms, remind_ms=remind_ms))
    play.done("before")
    began = play.at("wait").since_ms
    for due in deadlines:
        assert play.at("wait").due_ms == began + due
        play.clock += 17  # timers may fire late; the next deadline still counts from the beginning
        play.fire("wait")
    ends = timeout_ms is not None
    assert play.state.status is (RunStatus.FAILED if ends else RunStatus.RUNNING)
    if not ends:
        assert play.at("wait").due_ms is None
        play.deliver(signalled("late"))
        assert play.state.status is RunStatus.SUCCEEDED


def test_a_signal_to_a_failed_run_waits_for_its_retry() -> None:
    play = hand(waiting(timeout_ms=100))
    play.done("before")
    play.fire("wait")
    play.deliver(signalled("late"))
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert play.state.output == Inline("late")


# --------------------------------------------------------------------------------------- loops


def looping(passes: int = 3, **options: Any) -> Plan:
    return plan([node("loop", NodeKind.LOOP, max_passes=passes, **options)], edges("input > loop"), ["loop"])


def test_a_loop_goes_on_until_it_is_done_and_keeps_only_its_last_pass() -> None:
    play = hand(looping())
    play.done("loop#1", done=False)
    assert "loop#1" in play.state.nodes
    play.done("loop#2", done=False)
    assert "loop#1" not in play.state.nodes
    play.done("loop#3", 3)
    assert play.state.output == Inline(3)


def test_a_loop_that_is_never_done_fails_and_a_retry_gives_it_more_passes() -> None:
    play = hand(looping(2))
    play.done("loop#1", done=False)
    play.done("loop#2", done=False)
    assert play.state.failure is not None
    assert "not done after 2 passes" in play.state.failure.message
    play.again()
    assert play.attempts()[-1] == "loop#3/1"
    assert "loop#2" in play.state.nodes  # whose output is the input of the third
    play.done("loop#3", done=False)
    play.done("loop#4", done=False)
    assert play.state.failure is not None
    assert "not done after 4 passes" in play.state.failure.message


def test_a_failed_pass_is_what_a_retry_repeats() -> None:
    play = hand(looping(retry=ONCE))
    play.done("loop#1", done=False)
    play.broken("loop#2")
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert play.attempts()[-1] == "loop#2/2"
    play.done("loop#2")
    assert play.state.status is RunStatus.SUCCEEDED


# ------------------------------------------------------------------------- attempts of one node


def test_backoff_then_the_next_attempt_until_the_budget_is_spent() -> None:
    play = hand(chain_of(1, retry=RetryPolicy(attempts=2)))
    play.broken("n0", retryable=True)
    assert play.at("n0").status is NodeStatus.BACKOFF
    play.fire("n0")
    assert play.at("n0").attempt == 2
    play.broken("n0", retryable=True)
    assert play.state.failure == Failure("boom", "bang (after 2 attempts)", "n0", 2)


def test_a_lost_worker_costs_no_retry() -> None:
    play = hand(chain_of(1, retry=RetryPolicy(attempts=2)))
    for _ in range(5):
        known = {**play.known("n0"), "incarnation": Incarnation("i")}
        play.deliver(NodeStarted(**known, worker="w"))
        play.deliver(LeaseExpired(**known))
    assert play.at("n0").attempt == 6
    assert play.at("n0").tries == 1
    play.broken("n0", retryable=True)
    assert play.at("n0").status is NodeStatus.BACKOFF


def test_what_a_lost_worker_told_goes_with_the_next_attempt_until_one_succeeds() -> None:
    play = hand(chain_of(1))
    known = {**play.known("n0"), "incarnation": Incarnation("i")}
    play.deliver(NodeStarted(**known, worker="w", details=Inline("early")))
    play.deliver(LeaseExpired(**known))
    assert play.at("n0").details == Inline("early")
    known = {**play.known("n0"), "incarnation": Incarnation("j")}
    play.deliver(NodeStarted(**known, worker="w"))
    play.deliver(LeaseExpired(**known, details=Inline("late")))
    dispatched = DispatchNode(NodeKey("n0"), play.at("n0").attempt)
    assert node_ready(play.plan, play.state, dispatched, 1).details == Inline("late")
    play.done("n0")
    assert play.at("n0").details is None


def test_what_a_worker_gives_back_is_dispatched_at_once_with_what_it_told() -> None:
    play = hand(chain_of(1, retry=RetryPolicy(attempts=2)))
    known = {**play.known("n0"), "incarnation": Incarnation("i")}
    play.deliver(NodeStarted(**known, worker="w"))
    play.deliver(NodeReleased(**known, details=Inline("half")))
    node = play.at("n0")
    assert (node.status, node.attempt, node.tries) == (NodeStatus.READY, 2, 1)
    dispatched = DispatchNode(NodeKey("n0"), node.attempt)
    assert node_ready(play.plan, play.state, dispatched, 1).details == Inline("half")
    play.deliver(NodeReleased(**known))
    assert play.at("n0").attempt == 2


def test_missing_code_costs_no_retry_and_forgets_no_failure() -> None:
    play = hand(chain_of(1, retry=RetryPolicy(attempts=2), has_fallback=True))
    play.broken("n0")
    assert play.at("n0").fallback
    play.deliver(NodeParked(**play.known("n0")))
    assert play.at("n0").status is NodeStatus.PARKED
    play.fire("n0")
    assert play.at("n0").fallback
    assert play.at("n0").tries == 1
    play.broken("n0")
    assert play.state.status is RunStatus.FAILED


def test_a_fallback_has_its_own_budget_and_a_retry_begins_with_the_handler_again() -> None:
    play = hand(chain_of(1, kind=NodeKind.STREAM, retry=RetryPolicy(attempts=2), has_fallback=True))
    known = {**play.known("n0"), "incarnation": Incarnation("i")}
    play.deliver(NodeStreaming(**known, partition=0, offset=5))
    play.broken("n0")
    assert play.at("n0").fallback
    assert play.at("n0").stream is None  # readers ignore what the handler emitted
    play.broken("n0", retryable=True)
    assert play.at("n0").status is NodeStatus.BACKOFF
    play.fire("n0")
    assert play.at("n0").fallback
    play.broken("n0", retryable=True)
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert not play.at("n0").fallback


def test_the_lease_stays_with_the_worker_that_reported_first() -> None:
    play = hand(chain_of(1))
    known = play.known("n0")
    play.deliver(NodeStarted(**known, incarnation=Incarnation("a"), worker="w"))
    play.deliver(NodeStarted(**known, incarnation=Incarnation("b"), worker="v"))
    assert play.at("n0").worker == "w"
    play.deliver(NodeSucceeded(**known, incarnation=Incarnation("b"), output=Inline("b")))
    assert play.at("n0").incarnation == "b"
    assert play.state.output == Inline("b")


def test_the_stream_that_begins_last_is_the_one_to_read() -> None:
    play = hand(chain_of(1, kind=NodeKind.STREAM))
    known = play.known("n0")
    for incarnation, offset in (("a", 5), ("b", 9), ("a", 5)):
        play.deliver(NodeStreaming(**known, incarnation=Incarnation(incarnation), partition=0, offset=offset))
    stream = play.at("n0").stream
    assert stream is not None
    assert (stream.incarnation, stream.offset) == ("b", 9)


# ------------------------------------------------------------------------- retry of a whole run


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


# ----------------------------------------------------------------------------------- children


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


# ------------------------------------------------------------------------- starts and cancels


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
    play.broken("a")
    assert [command.generation for command in commands(play, BroadcastCancel)] == [1]
    play.again()
    assert play.state.generation == 1
    assert play.attempts() == ["a/1", "b/1", "a/2", "b/2"]


def test_a_state_that_outgrows_its_record_ends_without_its_values() -> None:
    graph = plan([node("a", has_compensation=True), node("b")], edges("input > a > b"), ["b"])
    play = hand(graph)
    play.deliver(signalled("early", "long" * 1000))
    play.done("a", "long" * 1000)
    decision = overflow(graph, play.state, 2_000, 1_000, 5)
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
