"""Runs and nodes with limits: they begin when they have their slots, and give them back however they end."""

from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.domain.commands import AskSlot, Command, DispatchNode, ReturnSlot
from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    CancelRequested,
    Event,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeParked,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    RetryRequested,
    RunRequested,
    SignalReceived,
    SlotGranted,
    TimerFired,
)
from beluga_stream.domain.ids import Incarnation, LimitId, NodeKey, RunId
from beluga_stream.domain.limit import Limit, limit_ids
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import overflow, reduce
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NodeStatus, RunState, RunStatus
from beluga_stream.domain.waiting import waits
from tests.unit.graphs import ROOT, edge, edges, node, plan

A, B = Limit("a", at_once=1), Limit("b", key="customer", at_once=1, wait_ms=5_000)
KEYS = {"customer": "7"}
IDS = limit_ids([A, B], KEYS)
ONCE = RetryPolicy(attempts=1)
AT: dict[str, Any] = {"run": ROOT, "key": ROOT, "at_ms": 1_000}


class Told:
    """One run, told one event after another; `commands` are those of the last."""

    def __init__(self, of: Plan, value: object = None) -> None:
        self.plan = of
        self.state: RunState | None = None
        self.commands: tuple[Command, ...] = ()
        self.tell(RunRequested(**AT, graph="test", definition=of.hash, input=Inline(value), digest="d", keys=KEYS))

    def tell(self, event: Event) -> "Told":
        decision = reduce(self.plan, self.state, event)
        assert decision is not None
        self.state, self.commands = decision.state, decision.commands
        return self

    def grant(self, limit: LimitId, key: str | None = "it", number: int = 1) -> "Told":
        return self.tell(SlotGranted(**AT, limit=limit, node=None if key is None else NodeKey(key), number=number))

    def at(self, key: str) -> NodeStatus:
        assert self.state is not None
        return self.state.nodes[NodeKey(key)].status

    @property
    def run(self) -> RunState:
        assert self.state is not None
        return self.state

    def slots(self, kind: type[AskSlot | ReturnSlot]) -> list[tuple[LimitId, str | None, int]]:
        return [(each.limit, each.node, each.number) for each in self.commands if isinstance(each, kind)]


def of_attempt(key: str = "it", attempt: int = 1) -> dict[str, Any]:
    return {**AT, "node": NodeKey(key), "attempt": attempt}


def held(key: str = "it", attempt: int = 1) -> dict[str, Any]:
    return {**of_attempt(key, attempt), "incarnation": Incarnation("i")}


def one(**options: Any) -> Plan:
    return plan([node("it", limits=(A,), **options), node("after")], edges("input > it > after"), ["after"])


(ONE,) = limit_ids([A], KEYS)


def running(**options: Any) -> Told:
    """A run whose node has its slot."""
    return Told(one(**options)).grant(ONE)


def test_a_node_begins_when_it_has_its_slot() -> None:
    told = Told(one())
    assert told.at("it") is NodeStatus.LIMITED
    assert told.slots(AskSlot) == [(ONE, "it", 1)]
    assert not [each for each in told.commands if isinstance(each, DispatchNode)]
    told.grant(ONE)
    assert told.at("it") is NodeStatus.READY
    assert DispatchNode(NodeKey("it"), 1) in told.commands


def test_slots_of_several_limits_are_asked_for_one_after_another_in_one_order() -> None:
    told = Told(plan([node("it", limits=(B, A))], edges("input > it"), ["it"]))
    assert told.slots(AskSlot) == [(IDS[0], "it", 1)]
    told.grant(IDS[1])
    assert told.slots(ReturnSlot) == [(IDS[1], "it", 1)], "it has not asked for that one yet"
    told.grant(IDS[0])
    assert told.slots(AskSlot) == [(IDS[1], "it", 1)]
    told.tell(CancelRequested(**AT))
    assert told.slots(ReturnSlot) == [(IDS[0], "it", 1), (IDS[1], "it", 1)]


FAILED = NodeFailed(**held(), failure=Failure("boom", "bang"), retryable=False)
ENDS: dict[str, Event] = {
    "succeeded": NodeSucceeded(**held(), output=Inline(1)),
    "failed": FAILED,
    "cancelled": CancelRequested(**AT),
    "its run's timeout": TimerFired(**AT, attempt=0, due_ms=601_000),
}


@pytest.mark.parametrize("event", ENDS.values(), ids=ENDS)
def test_a_slot_goes_back_however_its_node_ends(event: Event) -> None:
    told = running().tell(event)
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]
    told.grant(ONE)
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)], "a slot that comes late goes back"


@pytest.mark.parametrize("event", [ENDS["cancelled"], ENDS["its run's timeout"]], ids=["cancelled", "timeout"])
def test_who_waits_for_a_slot_and_is_stopped_waits_no_longer(event: Event) -> None:
    told = Told(one()).tell(event)
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]
    assert told.run.ended


def test_it_goes_back_when_a_join_has_enough_without_it() -> None:
    of = plan(
        [node("it", limits=(A,)), node("other"), node("both", NodeKind.SELECT, join=Join.FIRST)],
        edges("input > it > both", "input > other > both"),
        ["both"],
    )
    told = Told(of).grant(ONE).tell(NodeSucceeded(**held("other"), output=Inline(1)))
    assert told.at("it") is NodeStatus.CANCELLED
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]


@pytest.mark.parametrize(
    "ends", [CancelRequested(**AT), NodeFailed(**held("writes"), failure=Failure("x", "x"), retryable=False)]
)
def test_it_goes_back_when_who_read_a_void_stream_never_begins_again(ends: Event) -> None:
    of = plan(
        [node("writes", NodeKind.STREAM), node("it", limits=(A,)), node("after")],
        [*edges("input > writes", "it > after"), edge("writes", "it", EdgeMode.STREAM)],
        ["after"],
    )
    told = Told(of).tell(NodeStreaming(**held("writes"), partition=0, offset=0)).grant(ONE)
    assert told.at("it") is NodeStatus.READY
    told.tell(NodeFailed(**held("writes"), failure=Failure("x", "x"), retryable=True))
    assert told.at("it") is NodeStatus.PENDING
    assert not told.slots(ReturnSlot), "it keeps its slot for the next stream"
    told.tell(TimerFired(**of_attempt("writes"), due_ms=told.run.nodes[NodeKey("writes")].due_ms or 0))
    told.tell(replace(ends, attempt=2) if isinstance(ends, NodeFailed) else ends)
    assert told.run.ended
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]


def test_it_goes_back_when_the_state_outgrows_its_record() -> None:
    told = running()
    decision = overflow(told.plan, told.run, "too long", 2_000)
    assert ReturnSlot(ONE, NodeKey("it"), 1) in decision.commands


def test_a_slot_is_kept_while_the_node_is_retried_parked_or_leased_anew() -> None:
    told = running()
    told.tell(NodeStarted(**held(), worker="w")).tell(LeaseExpired(**held()))
    assert told.at("it") is NodeStatus.READY
    told.tell(NodeFailed(**held(attempt=2), failure=Failure("boom", "bang"), retryable=True))
    assert told.at("it") is NodeStatus.BACKOFF
    told.grant(ONE)
    assert told.commands == (), "the same slot, told again"
    due = told.run.nodes[NodeKey("it")].due_ms
    assert due is not None
    told.tell(TimerFired(**of_attempt(attempt=2), due_ms=due)).tell(NodeParked(**of_attempt(attempt=3)))
    due = told.run.nodes[NodeKey("it")].due_ms
    assert due is not None
    told.tell(TimerFired(**of_attempt(attempt=3), due_ms=due))
    assert DispatchNode(NodeKey("it"), 4) in told.commands
    assert told.run.nodes[NodeKey("it")].slot == 1
    told.tell(NodeSucceeded(**held(attempt=4), output=Inline(1)))
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]


def test_who_waits_too_long_fails_and_gives_up_its_place() -> None:
    short = replace(A, wait_ms=500)
    nodes = [node("it", limits=(short,), on_failure=OnFailure.CONTINUE), node("b")]
    of = plan(nodes, edges("input > it", "input > b"), ["b"])
    told = Told(of).tell(TimerFired(**of_attempt(), due_ms=1_500))
    assert told.at("it") is NodeStatus.FAILED
    failure = told.run.nodes[NodeKey("it")].failure
    assert failure is not None
    assert (failure.code, failure.message) == ("timeout", "it waited too long for a slot of limit 'a'")
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]


def test_a_fallback_stands_in_without_a_slot_when_none_came() -> None:
    told = Told(one(has_fallback=True))
    due = told.run.nodes[NodeKey("it")].due_ms
    assert due is not None
    told.tell(TimerFired(**of_attempt(), due_ms=due))
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)]
    assert DispatchNode(NodeKey("it"), 2) in told.commands
    told.tell(NodeSucceeded(**held(attempt=2), output=Inline(1)))
    assert told.slots(ReturnSlot) == []


def test_a_compensation_waits_for_no_slot_however_often_it_is_tried() -> None:
    first = node("it", limits=(A,), has_compensation=True)
    told = Told(plan([first, node("b", retry=ONCE)], edges("input > it > b"), ["b"])).grant(ONE)
    told.tell(NodeSucceeded(**held(), output=Inline(1)))
    told.tell(NodeFailed(**held("b"), failure=Failure("boom", "bang"), retryable=False))
    assert told.at("it~undo") is NodeStatus.READY
    told.tell(NodeFailed(**held("it~undo"), failure=Failure("boom", "bang"), retryable=True))
    due = told.run.nodes[NodeKey("it~undo")].due_ms
    assert due is not None
    told.tell(TimerFired(**of_attempt("it~undo"), due_ms=due))
    assert told.at("it~undo") is NodeStatus.READY


def test_each_item_of_a_map_has_a_slot_of_its_own() -> None:
    told = Told(plan([node("it", NodeKind.MAP, limits=(A,))], edges("input > it"), ["it"]), value=[1, 2, 3])
    assert told.slots(AskSlot) == [(ONE, f"it[{number}]", 1) for number in range(3)]
    told.grant(ONE, "it[1]").tell(NodeSucceeded(**held("it[1]"), output=Inline(1)))
    assert told.slots(ReturnSlot) == [(ONE, "it[1]", 1)]


def test_a_run_that_is_retried_asks_anew_by_another_number() -> None:
    told = running(retry=ONCE).tell(FAILED)
    assert told.run.status is RunStatus.FAILED
    told.tell(RetryRequested(**AT, id="again"))
    assert told.slots(AskSlot) == [(ONE, "it", 2)]
    told.grant(ONE, number=1)
    assert told.slots(ReturnSlot) == [(ONE, "it", 1)], "the first slot is none that it waits for"


WHOLE = plan([node("it", retry=ONCE)], edges("input > it"), ["it"], limits=(A, B), timeout_ms=60_000)


def test_a_run_begins_when_it_has_its_slots_and_its_timeout_begins_then() -> None:
    told = Told(WHOLE)
    assert told.run.status is RunStatus.LIMITED
    assert told.run.nodes == {}
    assert told.run.due_ms == 1_000 + B.wait_ms
    assert told.slots(AskSlot) == [(IDS[0], None, 1)]
    told.grant(IDS[0], None)
    assert told.run.status is RunStatus.LIMITED
    told.tell(SlotGranted(**AT | {"at_ms": 4_000}, limit=IDS[1], number=1))
    assert told.run.status is RunStatus.RUNNING
    assert told.run.due_ms == 64_000
    assert DispatchNode(NodeKey("it"), 1) in told.commands
    told.tell(NodeSucceeded(**held(), output=Inline(1)))
    assert told.run.status is RunStatus.SUCCEEDED
    assert told.slots(ReturnSlot) == [(found, None, 1) for found in IDS]


def test_a_run_that_waits_too_long_fails_and_can_be_retried() -> None:
    told = Told(WHOLE).tell(TimerFired(**AT, attempt=0, due_ms=6_000))
    assert told.run.status is RunStatus.FAILED
    assert told.run.failure is not None
    assert told.run.failure.message.startswith("the run waited too long for a slot of limit")
    assert told.slots(ReturnSlot) == [(IDS[0], None, 1)]
    told.tell(RetryRequested(**AT, id="again"))
    number = told.run.slot
    assert number > 1
    for found in IDS:
        told.grant(found, None, number)
    assert DispatchNode(NodeKey("it"), 1) in told.commands


def test_a_run_that_failed_goes_on_from_its_failed_nodes_when_it_has_slots_again() -> None:
    told = Told(WHOLE)
    for found in IDS:
        told.grant(found, None)
    told.tell(FAILED)
    assert told.slots(ReturnSlot) == [(found, None, 1) for found in IDS]
    told.tell(RetryRequested(**AT, id="again"))
    assert told.run.status is RunStatus.LIMITED
    for found in IDS:
        told.grant(found, None, told.run.slot)
    assert DispatchNode(NodeKey("it"), 2) in told.commands


def test_a_signal_is_kept_for_a_run_that_waits() -> None:
    of = plan([node("it", NodeKind.WAIT, signal="go", timeout_ms=1)], edges("input > it"), ["it"], limits=(A,))
    told = Told(of).tell(SignalReceived(**AT, signal="go", id="1", value=Inline(3)))
    told.grant(ONE, None)
    assert told.run.status is RunStatus.SUCCEEDED
    assert told.run.output == Inline(3)


def test_a_page_waits_for_no_run_slot_and_is_told_the_keys() -> None:
    told = Told(plan([node("it", NodeKind.MAP, limits=(B,))], edges("input > it"), ["it"]), value=list(range(65)))
    assert told.slots(AskSlot) == [], "its pages ask for their items"
    assert told.run.keys == KEYS


def test_a_cancel_before_its_run_answers_a_slot_too() -> None:
    decision = reduce(None, None, CancelRequested(**AT))
    assert decision is not None
    granted = SlotGranted(**AT, limit=ONE, number=1)
    assert reduce(None, decision.state, granted) == Decision(decision.state, (ReturnSlot(ONE, None, 1),))
    assert reduce(None, None, granted) is None, "a run that is not known is for the coordinator to answer"


def test_what_waits_for_a_slot_says_for_which() -> None:
    (waiting,) = waits(one(), Told(one()).run)
    assert (waiting.node, waiting.on, waiting.what) == ("it", "limit", "a slot of limit 'a'")
    assert waiting.due_ms == 1_000 + A.wait_ms
    of = plan([node("it")], edges("input > it"), ["it"], limits=(B,))
    (waiting,) = waits(of, Told(of).run)
    assert (waiting.node, waiting.what) == (None, "a slot of limit 'b' for customer 7")
    assert (waiting.since_ms, waiting.due_ms) == (1_000, 6_000)
    assert not waiting.is_late(6_000, 60_000)


def test_run_ids_are_no_limit_ids() -> None:
    assert not RunId(ROOT).startswith("~")
    assert ONE.startswith("~limit/")
