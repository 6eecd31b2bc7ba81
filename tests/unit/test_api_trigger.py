"""Triggers, compiled."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Message, Topic, batch, chain, debounce, join, on_run
from beluga_stream.api.trigger import Declared
from beluga_stream.errors import InvalidConfig, InvalidGraph


class Order(BaseModel):
    id: str


class Payment(BaseModel):
    order_id: str


def receipt(order: Order) -> str:
    return order.id


def graph_of(name: str) -> Graph[Order, str]:
    graph = Graph[Order, str](name)
    graph.set_finish_point(graph.add_node(receipt, graph.input))
    return graph


def by_id(message: Message[Order]) -> str:
    return message.data.id


def test_a_topic_of_the_input_needs_no_map() -> None:
    graph = graph_of("sale").trigger(Topic("orders", Order), idempotency_key=by_id)
    (trigger,) = graph.triggers
    assert (trigger.name, trigger.kind, trigger.topic, trigger.graph) == ("orders", "topic", "orders", "sale")
    assert trigger.idempotency_key is by_id
    assert trigger.adapter.validate_python({"id": "7"}) == Order(id="7")


def test_another_topic_needs_a_map() -> None:
    graph = graph_of("sale")
    graph.trigger(Topic("payments", Payment))  # type: ignore[arg-type]  # the point
    with pytest.raises(InvalidGraph, match="takes Order, and its trigger 'payments' brings Payment"):
        _ = graph.triggers
    graph = graph_of("sale").trigger(Topic("payments", Payment), lambda m: Order(id=m.data.order_id))
    assert graph.triggers[0].map is not None


def test_the_end_of_another_graphs_run() -> None:
    first, second = graph_of("first"), graph_of("second")
    second.trigger(on_run(first), lambda m: Order(id=m.data))
    second.trigger(on_run(first, "failed"), lambda m: Order(id=m.id))
    ok, failed = second.triggers
    assert (ok.name, ok.kind, ok.topic, ok.status) == (
        "first:succeeded",
        "run_finished",
        "first",
        "succeeded",
    )
    assert (failed.name, failed.status) == ("first:failed", "failed")
    assert ok.adapter.validate_python("x") == "x"


def test_the_same_source_twice_is_refused() -> None:
    graph = graph_of("sale").trigger(Topic("orders", Order))
    with pytest.raises(InvalidGraph, match="triggered by 'orders' twice"):
        graph.trigger(Topic("orders", Order))


async def _later(given: Any) -> Any:
    return given


@pytest.mark.parametrize("what", ["where", "idempotency_key"])
def test_an_async_function_is_refused_it_would_pick_every_event(what: str) -> None:
    with pytest.raises(InvalidGraph, match=f"{what} of a trigger is _later, which is async"):
        graph_of("sale").trigger(Topic("orders", Order), **{what: _later})
    with pytest.raises(InvalidGraph, match="input of a trigger is _later, which is async"):
        graph_of("sale").schedule("0 9 * * *", input=_later)
    for key in (_later, partial(_later)):
        with pytest.raises(InvalidConfig, match=r"by\(_later\): it is async"):
            Topic("orders", Order).by(key)


ORDERS = Topic("orders", Order).by(lambda order: order.id)
PAYMENTS = Topic("payments", Payment).by(lambda payment: payment.order_id)


def test_a_join_of_two_topics() -> None:
    pair = join(ORDERS, PAYMENTS, within=600, lateness=60)
    _, (trigger,) = graph_of("settle").trigger(pair, lambda both: both[0]).deploy()
    assert (trigger.name, trigger.kind, trigger.sources) == ("orders+payments", "gathered", ("orders", "payments"))
    gathers = trigger.gathers
    assert gathers is not None
    assert (gathers.within_ms, gathers.lateness_ms, gathers.missing, gathers.late) == (
        600_000,
        60_000,
        "dead_letter",
        "dead_letter",
    )
    assert [side.key(side.adapter.validate_python({"id": "7", "order_id": "8"})) for side in gathers.sides] == [
        "7",
        "8",
    ]


def test_a_join_without_a_map_must_bring_what_the_graph_takes() -> None:
    graph = Graph[tuple[Order, Payment], str]("pairs")
    graph.set_finish_point(graph.add_node(lambda both: both[0].id, graph.input, name="first"))
    assert graph.trigger(join(ORDERS, PAYMENTS, within=1)).triggers[0].map is None
    other = graph_of("sale").trigger(join(ORDERS, PAYMENTS, within=1))  # type: ignore[arg-type]  # the point
    with pytest.raises(InvalidGraph, match=r"takes Order, and its trigger 'orders\+payments' brings tuple"):
        _ = other.triggers


def test_an_incomplete_window_may_be_another_graphs() -> None:
    alone = Graph[tuple[Order | None, Payment | None], str]("alone")
    alone.set_finish_point(alone.add_node(str, alone.input))
    graph = graph_of("settle").trigger(join(ORDERS, PAYMENTS, within=1, on_missing=alone), lambda both: both[0])
    (trigger,) = graph.triggers
    assert trigger.gathers is not None
    assert (trigger.gathers.missing, trigger.gathers.graph) == ("graph", "alone")
    wrong = join(ORDERS, PAYMENTS, within=1, on_missing=graph_of("x"))  # type: ignore[arg-type]  # the point
    with pytest.raises(InvalidGraph, match="graph 'x' takes Order, and gets tuple"):
        _ = graph_of("other").trigger(wrong, lambda both: both[0]).triggers


def test_batches_and_bursts() -> None:
    listed = Graph[list[Order], str]("listed")
    listed.set_finish_point(listed.add_node(str, listed.input))
    (trigger,) = listed.trigger(batch(ORDERS, size=100, within=5)).triggers
    assert (trigger.name, trigger.sources) == ("orders:batch", ("orders",))
    assert trigger.gathers is not None
    assert (trigger.gathers.kind, trigger.gathers.size, trigger.gathers.wait_ms) == ("batch", 100, 5_000)
    (trigger,) = graph_of("last").trigger(debounce(Topic("orders", Order), quiet=5, most=60)).triggers
    assert trigger.gathers is not None
    assert (trigger.gathers.kind, trigger.gathers.quiet_ms, trigger.gathers.most_ms) == ("burst", 5_000, 60_000)
    assert trigger.gathers.sides[0].key(Order(id="7")) == ""


def test_what_no_events_fit_is_refused() -> None:
    for within in (0, -1, timedelta(days=31)):
        with pytest.raises(InvalidConfig, match="above 0 and at most 30 days"):
            join(ORDERS, PAYMENTS, within=within)
    with pytest.raises(InvalidConfig, match="0 to 30 days"):
        join(ORDERS, PAYMENTS, within=1, lateness=-1)
    with pytest.raises(InvalidConfig, match="two to four"):
        join(ORDERS, within=1)  # type: ignore[call-overload]  # the point
    with pytest.raises(InvalidConfig, match=r"join\(\) of Topic\('payments', .*\.by\(key\)"):
        join(ORDERS, Topic("payments", Payment), within=1)  # type: ignore[arg-type,type-var]  # the point
    with pytest.raises(InvalidConfig, match=r"batch\(\) of 'orders': give a Topic"):
        batch("orders", size=1, within=1)  # type: ignore[arg-type]  # the point
    with pytest.raises(InvalidConfig, match="size=0"):
        batch(ORDERS, size=0, within=1)
    with pytest.raises(InvalidConfig, match="most=0"):
        debounce(ORDERS, quiet=1, most=0)
    graph = graph_of("sale")
    graph._declare(Declared(debounce(ORDERS, quiet=1), None, lambda message: True, None))
    with pytest.raises(InvalidGraph, match="where= and idempotency_key= are for triggers by one"):
        _ = graph.triggers


def test_deploying_gives_program_and_triggers() -> None:
    words = chain(receipt, name="words").trigger(Topic("orders", Order))
    program, triggers = words.deploy()
    assert program.definition.name == "words"
    assert [trigger.topic for trigger in triggers] == ["orders"]
