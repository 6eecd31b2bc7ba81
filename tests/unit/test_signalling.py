"""Signals that their run cannot take: by their name, and by the schema that is published of their value."""

import pytest
from pydantic import BaseModel, Field

from beluga_stream import Graph, Signal
from beluga_stream.application.clients.signalling import check_name, check_received, check_value
from beluga_stream.domain.events import SignalReceived
from beluga_stream.domain.ids import GraphHash, RunId
from beluga_stream.domain.payload import Inline, Stored
from beluga_stream.domain.plan import Plan
from beluga_stream.errors import InvalidInput, NotFound


class Decision(BaseModel):
    by: str
    ok: bool


def told(decision: Decision) -> str:
    return decision.by


def plan_of(*graphs: Graph[str, str]) -> Plan:
    """That of the last one, which may start the ones before it."""
    plans: dict[GraphHash, Plan] = {}
    for graph in graphs:
        definition = graph.compile().definition
        plans[definition.hash] = Plan(definition, plans)
    return [*plans.values()][-1]


approving = Graph[str, str]("approving")
approving.set_finish_point(approving.add_node(told, approving.wait(Signal("decision", Decision), timeout=60)))
outer = Graph[str, str]("outer")
outer.set_finish_point(outer.add_node(approving, outer.input))


def test_a_misspelt_name_is_told_with_what_is_meant() -> None:
    check_name(plan_of(approving), "decision")
    check_name(plan_of(approving, outer), "decision")
    with pytest.raises(NotFound, match=r"'approving' waits for no signal 'decisoin': is 'decision' meant\?"):
        check_name(plan_of(approving), "decisoin")
    with pytest.raises(NotFound, match=r"'outer' waits for no signal 'go': it waits for decision"):
        check_name(plan_of(approving, outer), "go")


def test_a_value_that_no_wait_takes_is_refused_with_its_place() -> None:
    plan = plan_of(approving)
    check_value(plan, "decision", {"by": "ada", "ok": True})
    with pytest.raises(InvalidInput, match=r'does not take this value: the value: "ok" is a required property'):
        check_value(plan, "decision", {"by": "ada"})
    with pytest.raises(InvalidInput, match=r"does not take this value: ok: "):
        check_value(plan, "decision", {"by": "ada", "ok": []})


class Reviewed(BaseModel):
    ok: bool = Field(alias="isOk")


async def test_a_value_with_aliases_is_sent_as_its_schema_has_it() -> None:
    def verdict(reviewed: Reviewed) -> str:
        return "fine" if reviewed.ok else "no"

    review, value = Signal("review", Reviewed), Reviewed(isOk=True)
    reviewing = Graph[str, str]("reviewing")
    reviewing.set_finish_point(reviewing.add_node(verdict, reviewing.wait(review, timeout=60)))
    check_value(plan_of(reviewing), "review", review.dump(value))
    assert await reviewing.invoke("", signals={review: value}) == "fine"


def test_what_a_subgraph_may_take_and_what_lies_elsewhere_is_let_through() -> None:
    check_value(plan_of(approving, outer), "decision", {"by": "ada"})
    stored, inline = (
        SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="decision", id="1", value=value)
        for value in (Stored("r/x", 1, None), Inline(3))
    )
    check_received(plan_of(approving), stored)
    with pytest.raises(InvalidInput):
        check_received(plan_of(approving), inline)
