"""Waits, signals and loops, one rule of the reducer at a time."""

from typing import Any

import pytest

from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import SIGNAL_BUFFER
from beluga_stream.domain.state import NodeStatus, RunStatus
from tests.unit.graphs import ONCE, SIGNAL, edges, node, plan
from tests.unit.hand import hand, signalled

# ---------------------------------------------------------------------------- waits and signals


def waiting(**options: Any) -> Plan:
    return plan(
        [node("before"), node("wait", NodeKind.WAIT, signal=SIGNAL, **options)],
        edges("input > before > wait"),
        ["wait"],
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


# ---------------------------------------------------------------------------------------- loops


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
    assert play.state.failure.node == "loop"
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
