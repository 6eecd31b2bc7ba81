"""Losses in a row: what they cost, where the next attempt runs, and when a node fails as poison."""

from typing import Any

import pytest

from beluga_stream.domain.commands import BroadcastCancel, DispatchNode
from beluga_stream.domain.crashes import LOST_MOST, runs_apart
from beluga_stream.domain.definition import MAX_CRASHES, Node
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    Event,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeStarted,
    NodeSucceeded,
    RetryRequested,
    RunRequested,
    TimerFired,
)
from beluga_stream.domain.ids import Incarnation, NodeKey
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus
from tests.unit.graphs import ROOT, edges, node, plan

KEY = NodeKey("it")
AT: dict[str, Any] = {"run": ROOT, "key": ROOT, "at_ms": 50}
FAILED = Failure("execution_failed", "bang")


class Run:
    """One run of one node, and what happens to it."""

    def __init__(self, **options: Any) -> None:
        self.plan: Plan = plan([node("it", **options)], edges("input > it"), ["it"])
        self.decision = reduce(self.plan, None, RunRequested(**AT, graph="test", input=Inline(1), digest="d"))

    @property
    def state(self) -> RunState:
        assert self.decision is not None
        return self.decision.state

    @property
    def it(self) -> NodeState:
        return self.state.nodes[KEY]

    def happens(self, event: Event) -> Decision:
        self.decision = reduce(self.plan, self.state, event)
        assert self.decision is not None
        return self.decision

    def held(self) -> dict[str, Any]:
        return {**AT, "node": KEY, "attempt": self.it.attempt, "incarnation": Incarnation("i")}

    def is_lost(self) -> None:
        """A worker takes it, and falls silent."""
        self.happens(NodeStarted(**self.held(), worker="w1"))
        self.happens(LeaseExpired(**self.held()))

    def crashes(self) -> None:
        """Its own process dies, and the pause before the next attempt is over."""
        self.happens(NodeFailed(**self.held(), failure=FAILED, retryable=True, crashed_on="w2"))
        self.goes_on()

    def goes_on(self) -> None:
        if self.it.status is NodeStatus.BACKOFF:
            due = self.it.due_ms
            assert due is not None
            self.happens(TimerFired(**AT, node=KEY, attempt=self.it.attempt, due_ms=due))


def test_the_loss_of_a_worker_costs_no_retry_and_counts() -> None:
    run = Run(retry=RetryPolicy(attempts=1))
    run.is_lost()
    run.is_lost()
    assert (run.it.status, run.it.attempt, run.it.tries, run.it.losses) == (NodeStatus.READY, 3, 1, 2)
    assert DispatchNode(KEY, 3) in run.decision.commands  # type: ignore[union-attr]


def test_what_still_waited_for_its_turn_there_is_not_even_suspected() -> None:
    run = Run()
    run.is_lost()
    for attempt in (2, 3, 4):
        run.happens(NodeStarted(**run.held(), worker="w1"))
        decided = run.happens(LeaseExpired(**run.held(), begun=False))
        assert BroadcastCancel(run.state.generation, (f"{KEY}/{attempt}",)) in decided.commands
        assert DispatchNode(KEY, attempt + 1) in decided.commands
    assert (run.it.status, run.it.attempt, run.it.losses) == (NodeStatus.READY, 5, 1)


def test_the_loss_of_workers_convicts_nobody() -> None:
    run = Run()
    for _ in range(MAX_CRASHES * 3):
        run.is_lost()
    assert run.state.status is RunStatus.RUNNING
    run.happens(NodeSucceeded(**run.held(), output=Inline(2)))
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.it.losses == 0


def test_a_crash_of_its_own_proves_the_losses_before_it() -> None:
    run = Run(retry=RetryPolicy(attempts=9))
    run.is_lost()
    run.is_lost()
    run.crashes()
    failure = run.state.failure
    assert failure is not None
    assert (run.state.status, failure.code, failure.node, failure.attempt) == (RunStatus.FAILED, "poisoned", KEY, 3)
    assert failure.message.startswith("it: its process died 3 times in a row, the last time on worker w2: ")
    assert "executor='process'" in failure.message


def test_crashes_of_a_process_node_are_failures_until_one_is_too_many() -> None:
    run = Run(retry=RetryPolicy(attempts=9))
    run.crashes()
    run.crashes()
    assert (run.it.status, run.it.tries, run.it.losses) == (NodeStatus.READY, 3, 2)
    run.crashes()
    assert run.state.failure is not None
    assert run.state.failure.code == "poisoned"


def test_retries_bound_crashes_too() -> None:
    run = Run(retry=RetryPolicy(attempts=2))
    run.crashes()
    run.crashes()
    assert run.state.failure is not None
    assert run.state.failure.code == "execution_failed"


def test_a_failure_that_its_process_outlived_ends_the_row() -> None:
    run = Run()
    run.is_lost()
    run.is_lost()
    run.happens(NodeFailed(**run.held(), failure=FAILED, retryable=True))
    run.goes_on()
    assert (run.it.status, run.it.losses) == (NodeStatus.READY, 0)


def test_a_retry_of_the_run_begins_a_new_row() -> None:
    run = Run(max_crashes=1, retry=RetryPolicy(attempts=9))
    run.crashes()
    assert run.state.status is RunStatus.FAILED
    run.happens(RetryRequested(**AT, id="again"))
    assert (run.it.status, run.it.losses) == (NodeStatus.READY, 0)


def test_a_fallback_stands_in_for_poison_and_has_a_row_of_its_own() -> None:
    run = Run(has_fallback=True, max_crashes=1)
    run.crashes()
    assert (run.it.status, run.it.fallback, run.it.losses) == (NodeStatus.READY, True, 0)
    run.happens(NodeSucceeded(**run.held(), output=Inline("instead")))
    assert run.state.status is RunStatus.SUCCEEDED


def test_without_limit_nothing_is_poison() -> None:
    run = Run(max_crashes=0, retry=RetryPolicy(attempts=99))
    for _ in range(LOST_MOST):
        run.is_lost()
        run.crashes()
    assert run.it.status is NodeStatus.READY


def test_what_takes_every_worker_with_it_is_given_up_in_the_end() -> None:
    run = Run()
    for _ in range(LOST_MOST - 1):
        run.is_lost()
    assert run.state.status is RunStatus.RUNNING
    run.is_lost()
    assert run.state.failure is not None
    assert run.state.failure.code == "poisoned"
    assert f"died {LOST_MOST} times in a row, the last time on worker w1" in run.state.failure.message


@pytest.mark.parametrize(("max_crashes", "apart_from"), [(0, 2), (1, 1), (2, 1), (3, 2), (4, 2), (100, 2)], ids=str)
def test_where_the_next_attempt_runs(max_crashes: int, apart_from: int) -> None:
    declared: Node = node("it", max_crashes=max_crashes)
    assert [runs_apart(declared, losses) for losses in range(4)] == [losses >= apart_from for losses in range(4)]


def test_a_limit_that_is_not_given_changes_no_hash() -> None:
    plain, given = Run().plan, Run(max_crashes=MAX_CRASHES).plan
    assert plain.hash == given.hash
    assert plain.hash != Run(max_crashes=4).plan.hash
