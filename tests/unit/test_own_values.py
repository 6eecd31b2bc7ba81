"""A handler may change in place what it is given: nobody else gets it so, nor its own next attempt."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

import pytest
from annotated_types import Len

from beluga_stream import BusMessage, Graph, Retry, Stream, chain, context, local_bus, node
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.payload import Picked
from beluga_stream.errors import RunFailed

Rows = dict[str, list[Any]]
"""Of which pydantic makes a new mapping; what lies in its lists is handed over as it is."""


def rows(n: int) -> Rows:
    return {"rows": [{"seen": 0} for _ in range(n)]}


def look(given: Rows) -> int:
    """How often somebody has looked at it."""
    for row in given["rows"]:
        row["seen"] += 1
    return int(given["rows"][0]["seen"])


@node(retry=Retry(3, first=0))
def fails_twice(given: Rows) -> int:
    seen = look(given)
    if context().attempt < 3:
        raise ConnectionError("not yet")
    return seen


@node(retry=Retry(3, first=0))
async def fails_twice_too(given: Rows) -> int:
    return fails_twice(given)


async def aside(given: Rows) -> int:
    return look(given)


def both(first: int, second: int, given: Rows) -> list[int]:
    return [first, second, look(given)]


async def test_in_a_graph_each_node_and_attempt_has_its_own() -> None:
    graph = Graph[int, list[int]]("sharing")
    made = graph.add_node(rows, graph.input)
    graph.set_finish_point(graph.add_node(both, graph.add_node(fails_twice, made), graph.add_node(aside, made), made))
    assert await graph.invoke(2) == [1, 1, 1]


async def test_in_a_chain_each_attempt_has_its_own() -> None:
    assert await chain(rows, fails_twice, name="blocking").invoke(1) == 1
    assert await chain(rows, fails_twice_too, name="waiting").invoke(1) == 1


async def test_two_readers_of_a_stream_have_their_own_chunks() -> None:
    async def write(n: int) -> AsyncIterator[Rows]:
        for _ in range(n):
            yield rows(1)

    async def read(chunks: Stream[Rows]) -> int:
        return sum([look(chunk) async for chunk in chunks])

    async def read_too(chunks: Stream[Rows]) -> int:
        await asyncio.sleep(0)
        return sum([look(chunk) async for chunk in chunks])

    def add(first: int, second: int, whole: list[Rows]) -> list[int]:
        return [first, second, sum(map(look, whole))]

    graph = Graph[int, list[int]]("reading")
    written = graph.add_node(write, graph.input)
    one, two = graph.add_node(read, written.stream), graph.add_node(read_too, written.stream)
    graph.set_finish_point(graph.add_node(add, one, two, written))
    assert await graph.invoke(3) == [3, 3, 3]


async def test_an_iterable_is_read_as_often_as_its_handler_likes() -> None:
    def numbers(n: int) -> Iterable[float]:
        return map(float, range(n))

    async def mean(given: Iterable[float] | None) -> float:
        assert given is not None
        return sum(given) / sum(1 for _ in given)

    assert await chain(numbers, mean, name="mean").invoke(5) == 2.0
    assert await chain(numbers, name="numbers").invoke(2) == [0.0, 1.0]


async def test_an_item_of_an_iterable_that_fails_its_type_fails_before_the_handler_begins() -> None:
    def words(n: int) -> list[Any]:
        return ["word"] * n

    @node(retry=Retry(1))
    async def count(given: Annotated[Iterable[int], Len(1)]) -> int:
        raise AssertionError(given)

    counted = chain(words, count, name="count")
    with pytest.raises(RunFailed, match="the value for 'given' does not fit its type: 0: Input should be a valid int"):
        await counted.invoke(1)
    with pytest.raises(RunFailed, match="should have at least 1 item"):
        await counted.invoke(0)


async def test_a_message_of_an_iterable_is_read_as_often_as_its_handler_likes() -> None:
    async def twice(message: BusMessage[Iterable[int]]) -> int:
        return sum(message.data) + sum(message.data)

    async with local_bus() as bus:
        await bus.subscribe("numbers", Iterable[int], twice, group="counting")  # type: ignore[type-abstract]
        assert await bus.request("numbers", [1, 2], int) == 6


async def test_a_value_from_the_blob_store_is_kept_as_it_is() -> None:
    payloads = Payloads(MemoryBlobs(), inline_limit_bytes=10)
    stored = await payloads.store("r", [rows(1), rows(1)])
    for payload in (stored, Picked(stored, 0)):
        first: Any = await payloads.load(payload)
        look(first if isinstance(first, dict) else first[0])
    assert await payloads.load(stored) == [rows(1), rows(1)]
