"""`Limit` as users write it: what it becomes in the definition, what is refused, and that it holds here."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, InvalidGraph, Limit, chain, node
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.catalog import publish
from beluga_stream.application.topics import Topics
from beluga_stream.domain import limit as domain
from beluga_stream.errors import InvalidConfig


class Customer(BaseModel):
    id: int
    parent: "Customer | None" = None


class Order(BaseModel):
    customer: Customer
    tags: dict[str, str] = {}
    lines: list[int] = []
    note: str | None = None


async def charge(order: Order) -> int:
    return order.customer.id


def graph_of(at_node: Limit, **options: Any) -> Graph[Order, int]:
    graph = Graph[Order, int]("orders", **options)
    return graph.set_finish_point(graph.add_node(charge, graph.input, limit=at_node))


def test_a_limit_is_a_part_of_the_definition_and_its_name_its_nodes_own() -> None:
    limit = Limit(3, rate=50, per=timedelta(minutes=1), key="customer.id", wait=10)
    definition = graph_of(limit, limit=Limit(5)).compile().definition
    assert definition.nodes[0].limits == (
        domain.Limit("orders/charge", "customer.id", at_once=3, rate=50, per_ms=60_000, wait_ms=10_000),
    )
    assert definition.limits == (domain.Limit("/orders", at_once=5),)
    assert graph_of(Limit(3, name="shared")).compile().definition.nodes[0].limits[0].name == "shared"


def test_a_graph_without_limits_has_the_hash_that_it_had() -> None:
    graph = Graph[int, int]("plain")
    graph.set_finish_point(graph.add_node(_same, graph.input))
    definition = graph.compile().definition
    assert b"limits" not in _bytes_of(definition)


async def _same(number: int) -> int:
    return number


def _bytes_of(definition: Any) -> bytes:
    from msgspec.json import encode  # noqa: PLC0415

    return encode(definition)


def test_it_may_stand_at_the_handler_and_in_a_chain() -> None:
    @node(limit=Limit(2))
    async def twice(number: int) -> int:
        return 2 * number

    limited = chain(twice, name="line", limit=[Limit(1), Limit(rate=3, name="slow")])
    definition = limited.compile().definition
    assert [limit.name for limit in definition.limits] == ["/line", "slow"]
    assert definition.nodes[0].limits == (domain.Limit("line/twice", at_once=2),)


@pytest.mark.parametrize("key", ["customer", "customer.id", "customer.parent.parent.id", "tags.any", "note"])
def test_a_key_that_the_input_may_have_is_taken(key: str) -> None:
    assert graph_of(Limit(1, key=key)).compile()


@pytest.mark.parametrize("key", ["custommer.id", "customer.name", "lines.0", "note.x", "customer.id.x"])
def test_a_key_that_the_input_cannot_have_is_refused(key: str) -> None:
    with pytest.raises(InvalidGraph, match=rf"graph 'orders', node 'charge': it is limited by the key '{key}'.*path"):
        graph_of(Limit(1, key=key)).compile()
    with pytest.raises(InvalidGraph, match="graph 'orders': it is limited by the key"):
        graph_of(Limit(1), limit=Limit(1, key=key)).compile()


def test_an_input_of_any_type_may_have_any_key() -> None:
    graph = Graph[dict[str, Any], Any]("any", limit=Limit(1, key="a.b.c"))
    graph.set_finish_point(graph.add_node(_first, graph.input))
    assert graph.compile()


async def _first(value: dict[str, Any]) -> Any:
    return next(iter(value), None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "limits nothing"),
        ({"at_once": 0}, "at_once=0"),
        ({"rate": 0}, "rate=0"),
        ({"rate": 1, "per": 0}, "per=0"),
        ({"at_once": 1, "wait": -1}, "wait=-1"),
        ({"at_once": 1, "wait": timedelta(days=31)}, "at most 30 days"),
        ({"at_once": 1, "key": "a..b"}, "path of names"),
        ({"at_once": 1, "name": ""}, "a name has at least one letter"),
        ({"at_once": 1, "name": "a/b"}, "none of"),
    ],
)
def test_what_is_out_of_range_is_refused(options: Any, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        Limit(**options)


def test_two_limits_of_one_name_on_one_node_are_refused() -> None:
    graph = Graph[Order, int]("orders")
    graph.set_finish_point(graph.add_node(charge, graph.input, limit=[Limit(1), Limit(rate=3)]))
    with pytest.raises(InvalidGraph, match="node 'charge': it has two limits of one name"):
        graph.compile()


def test_a_run_that_would_wait_for_itself_is_refused() -> None:
    with pytest.raises(InvalidGraph, match=r"node 'charge': it is limited by 'few'.*wait for itself"):
        graph_of(Limit(1, name="few"), limit=Limit(1, name="few")).compile()
    inner = graph_of(Limit(1, name="few"))
    outer = Graph[Order, int]("outer", limit=Limit(1, name="few"))
    outer.set_finish_point(outer.add_node(inner, outer.input))
    with pytest.raises(InvalidGraph, match=r"graph 'outer', node 'orders'.*wait for itself"):
        outer.compile()


def test_a_graph_as_a_node_has_its_limit_itself() -> None:
    outer = Graph[Order, int]("outer")
    inner = graph_of(Limit(1))
    with pytest.raises(InvalidGraph, match="limit= belongs to"):
        outer.add_node(inner, outer.input, limit=Limit(1))  # type: ignore[call-overload]


async def test_graphs_that_share_a_limit_must_agree_on_it() -> None:
    log = MemoryLog()
    names = Topics(partitions=1)
    log.create(names.specs(["default"]))
    one = chain(_same, name="one", limit=Limit(1, name="shared")).compile().definition
    other = chain(_same, name="other", limit=Limit(2, name="shared")).compile().definition
    with pytest.raises(InvalidConfig, match="limit 'shared' is one thing in graph 'one' and another in 'other'"):
        await publish(log, names, [one, other])
    await publish(log, names, [one])


async def test_it_holds_here_too() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return number

    graph = Graph[list[int], list[int]]("here", limit=Limit(1))
    graph.set_finish_point(graph.add_map(work, graph.input, limit=[Limit(3), Limit(rate=1_000, name="even")]))
    assert await graph.invoke(list(range(100))) == list(range(100))
    assert most == 3
