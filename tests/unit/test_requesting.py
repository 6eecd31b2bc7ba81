"""What functions around a trigger raise, and what they give that is no input, is told with its place and its cause."""

import re

import pytest
from pydantic import BaseModel

from beluga_stream import Graph
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application.ingest.requesting import Requests, called
from beluga_stream.application.payloads import Payloads
from beluga_stream.errors import ExecutionFailed
from tests.unit.engines import TOPICS


class Order(BaseModel):
    id: str
    secret: str = ""


def ship(order: Order) -> str:
    return order.id


def fails(order: Order) -> bool:
    raise KeyError(order.id)


def reads(text: str) -> Order:
    return Order.model_validate_json(text)


def test_what_a_function_raises_is_told_with_its_file_and_line() -> None:
    line = fails.__code__.co_firstlineno + 1
    told = f"where of trigger orders raised KeyError: '7' (unit/test_requesting.py, line {line})"
    with pytest.raises(ExecutionFailed, match=re.escape(told)):
        called("orders", "where", fails, Order(id="7"))


def test_of_a_value_that_fails_its_type_the_place_is_told_and_not_the_value() -> None:
    with pytest.raises(ExecutionFailed) as raised:
        called("orders", "map", reads, '{"secret": "sesame"}')
    assert "raised ValidationError: id: Field required (unit/test_requesting.py, line" in str(raised.value)
    assert "sesame" not in str(raised.value)


async def test_what_is_no_input_of_the_graph_is_told_as_such() -> None:
    graph = Graph[Order, str]("shipping")
    graph.set_finish_point(graph.add_node(ship, graph.input))
    requests = Requests(TOPICS, Payloads(MemoryBlobs()))
    told = "trigger orders: the input does not fit graph 'shipping': id: Field required"
    with pytest.raises(ExecutionFailed) as raised:
        await requests.start(graph.compile(), "orders", "7", {"secret": "sesame"}, None, 0)
    assert str(raised.value) == told
