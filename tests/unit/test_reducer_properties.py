"""What holds of every graph, behaviour and interleaving. `graphs.Play` checks much of it at each event."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from beluga_stream.domain.commands import DispatchNode, StartChild
from beluga_stream.domain.events import CancelRequested, ChildFinished, NodeSucceeded, RetryRequested
from beluga_stream.domain.ids import is_undo, node_of
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeStatus, RunState, RunStatus, timers
from tests.unit.graphs import ROOT
from tests.unit.laws import answer
from tests.unit.plays import CALM, COMMANDS, EVENTS, ROUGH, STATES, Behaviour, Play
from tests.unit.random_plans import plans

MILD = replace(ROUGH, fails=0.05, signals=0.9)
UNDOING = replace(ROUGH, fails=0.3, final=1.0, repeats=0.0)

seeds = st.integers(0, 2**32)
behaviours = st.sampled_from([CALM, MILD, MILD, ROUGH])

quick = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings(quick, max_examples=1000)
@given(plans(), seeds, behaviours)
def test_every_run_ends_and_repeated_events_change_nothing(plan: Plan, seed: int, behaviour: Behaviour) -> None:
    play = Play(plan, seed, replace(behaviour, repeats=1.0))
    assert play.run().ended
    assert all(state.ended for state in play.runs.values())
    assert not play.limits, "no slot is held, waited for or kept in mind"


@settings(quick, max_examples=300)
@given(plans(), seeds, behaviours)
def test_a_replay_from_any_json_state_goes_the_same_way(plan: Plan, seed: int, behaviour: Behaviour) -> None:
    play = Play(plan, seed, replace(behaviour, repeats=0.0))
    play.run()
    for log in play.logs.values():
        state = None
        for event, decision in zip(log.events, log.decisions, strict=True):
            read = EVENTS.decode(encode(event))
            assert read == event
            assert reduce(log.plan, state, read) == decision
            # Even the order of nodes survives: what depends on it would else differ after a recovery.
            state = STATES.decode(encode(decision.state))
            assert state == decision.state
            assert list(state.nodes) == list(decision.state.nodes)
            assert COMMANDS.decode(encode(decision.commands)) == decision.commands


@settings(quick, max_examples=300)
@given(plans(), seeds, behaviours)
def test_every_event_given_twice_gives_the_same_run(plan: Plan, seed: int, behaviour: Behaviour) -> None:
    play = Play(plan, seed, replace(behaviour, repeats=0.0))
    play.run()
    for log in play.logs.values():
        state: RunState | None = None
        for event, decision in zip(log.events, log.decisions, strict=True):
            assert reduce(log.plan, state, event) == decision
            again = reduce(log.plan, decision.state, event)
            assert again is not None
            assert again == answer(decision.state, event, again)
            state = decision.state


@settings(quick, max_examples=400)
@given(plans(), seeds, behaviours, st.integers(0, 30))
def test_after_a_cancel_nothing_is_dispatched_and_nothing_applied(
    plan: Plan, seed: int, behaviour: Behaviour, steps: int
) -> None:
    play = Play(plan, seed, behaviour)
    for _ in range(steps):
        play.step()
    before = play.runs.get(ROOT)
    play.deliver(CancelRequested(run=ROOT, key=ROOT, at_ms=0, reason="enough"))
    begun = len(play.dispatched), set(play.begun)
    cancelled = play.runs.get(ROOT)
    if before is None or not before.ended:
        assert cancelled is not None
        assert cancelled.status is RunStatus.CANCELLED
        assert not list(timers(cancelled))
    play.run()
    assert all(state.ended for state in play.runs.values())
    if before is not None and before.ended:
        return
    assert play.state.status is RunStatus.CANCELLED
    if before is not None:
        assert play.state == cancelled
    assert not [each for each in play.dispatched[begun[0] :] if each[0] == ROOT]
    assert not [
        command
        for decision in play.logs[ROOT].decisions
        if decision.state.status is RunStatus.CANCELLED
        for command in decision.commands
        if isinstance(command, DispatchNode | StartChild)
    ]


@settings(quick, max_examples=400)
@given(plans(forgiving=False, undo=False), seeds, st.sampled_from([MILD, ROUGH]))
def test_a_failed_run_can_be_retried_until_it_succeeds(plan: Plan, seed: int, behaviour: Behaviour) -> None:
    play = Play(plan, seed, replace(behaviour, branches=1.0))
    state = play.run()
    for number in range(4):
        if state.status is not RunStatus.FAILED:
            break
        if number > 0:
            play.behaviour = replace(CALM, repeats=1.0, hurries=0.0)
        done = {key for key, node in state.nodes.items() if node.status is NodeStatus.SUCCEEDED}
        begun = len(play.dispatched)
        play.ask(RetryRequested(run=ROOT, key=ROOT, at_ms=0, id=f"again-{number}"))
        state = play.run()
        assert not done & {key for run, key, _ in play.dispatched[begun:] if run == ROOT}
    assert state.status is RunStatus.SUCCEEDED
    assert all(found.ended for found in play.runs.values())


@settings(quick, max_examples=400)
@given(plans(), seeds)
def test_compensations_run_one_after_another_in_reverse_order(plan: Plan, seed: int) -> None:
    play = Play(plan, seed, UNDOING)
    play.run()
    for log in play.logs.values():
        done = [
            event.node
            for event, decision in zip(log.events, log.decisions, strict=True)
            if (isinstance(event, NodeSucceeded) or (isinstance(event, ChildFinished) and event.status == "succeeded"))
            and decision.commands
            and not is_undo(event.node)
            and log.plan.nodes[node_of(event.node)].has_compensation
        ]
        undone = [
            node_of(command.node)
            for decision in log.decisions
            for command in decision.commands
            if isinstance(command, DispatchNode) and is_undo(command.node) and command.attempt == 1
        ]
        end = log.decisions[-1].state
        if end.status is RunStatus.FAILED:
            assert undone == done[::-1]
            assert end.compensated is bool(undone)
        elif end.status is not RunStatus.CANCELLED:
            assert not undone


@settings(quick, max_examples=150)
@given(plans(), seeds, st.sampled_from([0.0, 0.5, 1.0]))
def test_handlers_that_always_fail_still_let_the_run_end(plan: Plan, seed: int, final: float) -> None:
    play = Play(plan, seed, replace(CALM, fails=1.0, final=final))
    assert play.run().ended
