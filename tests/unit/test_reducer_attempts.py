"""Attempts of one node, one rule of the reducer at a time: retries, losses, fallbacks, leases."""

import pytest

from beluga_stream.application.coordinator.rendering import node_ready
from beluga_stream.domain.commands import BroadcastCancel, DispatchNode
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import (
    Failure,
    LeaseExpired,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
)
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import Incarnation, NodeKey
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.retry import RetryPolicy, delay_ms
from beluga_stream.domain.state import NodeStatus, RunStatus
from tests.unit.graphs import ROOT, chain_of
from tests.unit.hand import commands, hand


def test_backoff_then_the_next_attempt_until_the_budget_is_spent() -> None:
    play = hand(chain_of(1, retry=RetryPolicy(attempts=2)))
    play.broken("n0", retryable=True)
    assert play.at("n0").status is NodeStatus.BACKOFF
    play.fire("n0")
    assert play.at("n0").attempt == 2
    play.broken("n0", retryable=True)
    assert play.state.failure == Failure("boom", "bang (after 2 attempts)", "n0", 2)


def test_the_pause_is_the_longer_one_of_the_policys_and_what_failed_asks_for() -> None:
    for asked_ms, pause_ms in ((0, 1_000), (400, 1_000), (30_000, 30_000), (90_000, 60_000)):
        play = hand(chain_of(1, retry=RetryPolicy(attempts=2, first_ms=1_000)))
        play.broken("n0", retryable=True, retry_after_ms=asked_ms)
        due_ms = play.at("n0").due_ms
        assert due_ms is not None
        assert max(min(asked_ms, 60_000), 500) <= due_ms - play.clock <= pause_ms


def test_pauses_double_up_to_their_most_and_those_of_many_runs_are_spread() -> None:
    policy = RetryPolicy(first_ms=1_000, most_ms=8_000)
    for failed, step_ms in ((1, 1_000), (2, 2_000), (4, 8_000), (5, 8_000), (2_000, 8_000)):
        pauses = [delay_ms(policy, failed, f"r{number}", "n") for number in range(50)]
        assert all(step_ms / 2 <= pause <= step_ms for pause in pauses)
        assert max(pauses) - min(pauses) > step_ms / 4, "what failed together comes back one by one"
        assert pauses == [delay_ms(policy, failed, f"r{number}", "n") for number in range(50)], "a replay says the same"


def test_what_was_sent_by_a_forgotten_run_of_the_same_id_counts_for_nothing() -> None:
    play = hand(chain_of(1))
    began = play.state.generation
    assert began == play.state.started_ms > 0
    known = {**play.known("n0"), "incarnation": Incarnation("i")}
    for event in (
        NodeStarted(**known, worker="w", generation=began - 1),
        NodeStreaming(**known, partition=0, offset=1, generation=began - 1),
        NodeSucceeded(**known, output=Inline("of yesterday"), generation=began - 1),
    ):
        decision = play.deliver(event)
        assert decision is not None
        assert decision.commands == ()
        assert play.at("n0").status is NodeStatus.READY
    play.deliver(NodeSucceeded(**known, output=Inline("of today"), generation=began))
    assert play.state.output == Inline("of today")


def test_what_is_reported_for_runs_of_earlier_versions_counts() -> None:
    play = hand(chain_of(1))
    play.runs[ROOT] = replace(play.state, generation=1)  # they began with 0, and this one was retried
    known = {**play.known("n0"), "incarnation": Incarnation("i")}
    play.deliver(NodeSucceeded(**known, output=Inline("done"), generation=1))
    assert play.state.output == Inline("done")


def test_a_lost_worker_costs_no_retry() -> None:
    play = hand(chain_of(1, retry=RetryPolicy(attempts=2)))
    for _ in range(5):
        known = {**play.known("n0"), "incarnation": Incarnation("i")}
        play.deliver(NodeStarted(**known, worker="w"))
        play.deliver(LeaseExpired(**known))
    assert play.at("n0").attempt == 6
    assert play.at("n0").tries == 1
    told_to_stop = [attempt for notice in commands(play, BroadcastCancel) for attempt in notice.attempts]
    assert told_to_stop == [f"n0/{attempt}" for attempt in range(1, 6)], "its worker may be there all the same"
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


@pytest.mark.parametrize(
    ("worker", "told"), [("host:7", "worker host:7 has no code of "), ("", "a worker has no code of ")]
)
def test_whose_code_is_missing_is_told(worker: str, told: str) -> None:
    """Not that no worker has it: others may. An earlier version does not say which it is."""
    play = hand(chain_of(1))
    play.deliver(NodeParked(**play.known("n0"), worker=worker))
    failure = play.at("n0").failure
    assert failure is not None
    assert failure.message.startswith(told)


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
