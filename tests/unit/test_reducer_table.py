"""The table of transitions, exhaustively: what is in it leads where it says, what is not changes nothing."""

from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.domain.commands import ReturnSlot
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    CancelRequested,
    ChildFinished,
    DispatchLost,
    Event,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    SignalReceived,
    SlotGranted,
    TimerFired,
)
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.limit import Limit, limit_id
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import RUN_ENDED, NodeState, NodeStatus, RunState, RunStatus
from beluga_stream.domain.transitions import TABLE
from tests.unit.graphs import ROOT, SIGNAL, child_of, edges, node, plan
from tests.unit.laws import AT_WORK

CHILD = RunId("c")
KEY = NodeKey("it")
AT: dict[str, Any] = {"run": ROOT, "key": ROOT, "at_ms": 50}
ATTEMPT: dict[str, Any] = {**AT, "node": KEY, "attempt": 2}
HELD: dict[str, Any] = {**ATTEMPT, "incarnation": Incarnation("i")}
BROKEN = Failure("boom", "bang")
LIMIT = Limit("few", at_once=1)
FEW = limit_id(LIMIT, {})

EVENTS: tuple[Event, ...] = (
    NodeStarted(**HELD, worker="w"),
    NodeStreaming(**HELD, partition=0, offset=7),
    NodeSucceeded(**HELD, output=Inline(1)),
    NodeFailed(**HELD, failure=BROKEN, retryable=True),
    NodeFailed(**HELD, failure=BROKEN, retryable=False),
    NodeFailed(**HELD, failure=BROKEN, retryable=True, crashed_on="w"),
    NodeParked(**ATTEMPT),
    LeaseExpired(**HELD),
    DispatchLost(**ATTEMPT),
    NodeReleased(**HELD),
    TimerFired(**ATTEMPT, due_ms=40),
    ChildFinished(**AT, node=KEY, child=CHILD, status="succeeded", output=Inline(1), counter=9),
    ChildFinished(**AT, node=KEY, child=CHILD, status="failed", failure=BROKEN, counter=9),
    ChildFinished(**AT, node=KEY, child=CHILD, status="cancelled", counter=9),
    SlotGranted(**AT, node=KEY, number=2, limit=FEW),
)

WAIT = node("it", NodeKind.WAIT, signal=SIGNAL, timeout_ms=40)
NODES = {
    "task": node("it"),
    "once": node("it", retry=RetryPolicy(attempts=1)),
    "fragile": node("it", max_crashes=1),
    "fallback": node("it", retry=RetryPolicy(attempts=1), has_fallback=True),
    "sleep": node("it", NodeKind.SLEEP, timeout_ms=40),
    "wait": WAIT,
    "reminding": replace(WAIT, remind_ms=20),
    "graph": child_of("it", NodeKind.GRAPH),
    "limited": node("it", limits=(LIMIT,)),
}


def plan_with(kind: str) -> Plan:
    return plan([NODES[kind], node("after")], edges("input > it > after"), ["after"])


TIMED = (NodeStatus.BACKOFF, NodeStatus.PARKED, NodeStatus.WAITING, NodeStatus.LIMITED)


def state_of(status: NodeStatus, run: RunStatus = RunStatus.RUNNING, **changes: Any) -> RunState:
    it = NodeState(
        status,
        attempt=2,
        tries=1,
        incarnation=Incarnation("i") if status is NodeStatus.RUNNING else None,
        due_ms=40 if status in TIMED else None,
        child=CHILD,
        slot=2 if status is NodeStatus.LIMITED else 0,
        limit=FEW if status is NodeStatus.LIMITED else None,
    )
    return RunState(
        run=ROOT,
        key=ROOT,
        graph="test",
        status=run,
        digest="d",
        trigger="api",
        input=Inline(1),
        started_ms=1,
        nodes={KEY: replace(it, **changes)},
        active=2,
    )


def answer(state: RunState, event: Event) -> Decision:
    """What changes nothing is answered with nothing, but for a slot: it is given back."""
    if isinstance(event, SlotGranted):
        return Decision(state, (ReturnSlot(event.limit, event.node, event.number),))
    return Decision(state)


@pytest.mark.parametrize(
    ("kind", "status", "event"),
    [
        pytest.param(*case, id=f"{case[0]}-{case[1]}-{number}")
        for number, case in enumerate(product(NODES, NodeStatus, EVENTS))
    ],
)
def test_every_pair(kind: str, status: NodeStatus, event: Event) -> None:
    if status is NodeStatus.LIMITED and kind != "limited":
        return
    timed = NODES[kind].kind in (NodeKind.WAIT, NodeKind.SLEEP)
    if status is NodeStatus.WAITING and isinstance(event, TimerFired) and not timed:
        return  # maps, loops and graphs wait without a deadline
    holds = kind == "limited" and status in AT_WORK
    state = state_of(status, **({"slot": 2} if holds else {}))
    transition = TABLE.get((status, type(event)))  # type: ignore[arg-type]
    decision = reduce(plan_with(kind), state, event)
    assert decision is not None
    if transition is None and isinstance(event, SlotGranted) and not holds:
        assert decision == Decision(state, (ReturnSlot(FEW, KEY, 2),)), "who does not want it gives it back"
    elif transition is None:
        assert decision.state is state
        assert decision == Decision(state)
    else:
        assert decision.state is not state
        assert decision.state.nodes[KEY].status in transition.leads_to


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("status", list(NodeStatus))
@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": 1},
        {"attempt": 3},
        {"node": NodeKey("other")},
        {"node": NodeKey("after")},
        {"due_ms": 41},
        {"child": RunId("another")},
    ],
    ids=str,
)
def test_events_for_something_else_change_nothing(event: Event, status: NodeStatus, wrong: dict[str, Any]) -> None:
    if not wrong.keys() <= set(event.__slots__):
        return
    state = state_of(status)
    event = replace(event, **wrong)
    assert reduce(plan_with("limited"), state, event) == answer(state, event)


@pytest.mark.parametrize("event", [*EVENTS, CancelRequested(**AT)], ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("run", sorted(RUN_ENDED))
@pytest.mark.parametrize("status", list(NodeStatus))
def test_nothing_is_applied_after_the_end(event: Event, run: RunStatus, status: NodeStatus) -> None:
    state = state_of(status, run)
    decision = reduce(plan_with("task"), state, event)
    assert decision is not None
    assert decision.state is state
    assert decision == answer(state, event)


@pytest.mark.parametrize(
    ("event", "changes"),
    [
        (NodeStarted(**HELD, worker="w"), {"worker": "another"}),
        (LeaseExpired(**HELD), {"incarnation": Incarnation("another")}),
        (NodeReleased(**HELD), {"incarnation": Incarnation("another")}),
        (ChildFinished(**AT, node=KEY, child=CHILD, status="succeeded", counter=9), {"total": 9}),
    ],
    ids=["a lease is held", "the lease is another's", "another has it", "that end was told"],
)
def test_what_is_no_news_changes_nothing(event: Event, changes: dict[str, Any]) -> None:
    status = NodeStatus.WAITING if isinstance(event, ChildFinished) else NodeStatus.RUNNING
    state = state_of(status, **changes)
    assert reduce(plan_with("task"), state, event) == Decision(state)


@pytest.mark.parametrize("event", [*EVENTS, SignalReceived(**AT, signal=SIGNAL, id="s", value=Inline(1))])
def test_nothing_begins_a_run_but_its_request(event: Event) -> None:
    assert reduce(plan_with("task"), None, event) is None
