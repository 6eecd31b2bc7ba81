"""Triggers, compiled."""

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Message, Topic, chain, join, on_run
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


def test_a_join_builds_and_runs_but_does_not_deploy_yet() -> None:
    pair = join(
        Topic("orders", Order).by(lambda order: order.id),
        Topic("payments", Payment).by(lambda payment: payment.order_id),
        within=600,
    )
    graph = graph_of("settle").trigger(pair, lambda both: both[0])
    graph.compile()
    with pytest.raises(InvalidGraph, match="joins of several topics are not supported yet"):
        graph.deploy()
    with pytest.raises(InvalidConfig, match="above 0"):
        join(pair.sides[0], pair.sides[1], within=0)


def test_deploying_gives_program_and_triggers() -> None:
    words = chain(receipt, name="words").trigger(Topic("orders", Order))
    program, triggers = words.deploy()
    assert program.definition.name == "words"
    assert [trigger.topic for trigger in triggers] == ["orders"]
