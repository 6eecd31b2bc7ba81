"""A parameter that nobody has annotated is read as what its edge gives, as type checkers take it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Retry, chain
from beluga_stream.errors import RunFailed


class Click(BaseModel):
    page: str
    seconds: int = 0


class Order(BaseModel):
    id: str


def clicks(pages: list[str]) -> list[Click]:
    return [Click(page=page) for page in pages]


async def click_by_click(pages: list[str]) -> AsyncIterator[Click]:
    for page in pages:
        yield Click(page=page)


async def test_of_a_lambda() -> None:
    graph = Graph[Click, str]("pages")
    graph.set_finish_point(graph.add_node(lambda click: click.page, graph.input, name="page"))
    assert await graph.invoke(Click(page="/tea")) == "/tea"


async def test_of_a_function_of_several() -> None:
    def told(click, order):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - which is what is tested
        return f"{order.id} from {click.page}"

    graph = Graph[Click, str]("told")
    order = graph.add_node(lambda _: Order(id="7"), graph.input, name="order")
    asked = graph.add_node(typed, order)
    graph.set_finish_point(graph.add_node(told, graph.input, asked))
    assert await graph.invoke(Click(page="/tea")) == "7 from /tea"


def typed(order: Order) -> Order:
    return order


async def test_of_a_step_of_a_chain() -> None:
    def first(pages: list[str]) -> Click:
        return Click(page=pages[0])

    assert await chain(first, lambda click: click.page, name="first_page").invoke(["/tea"]) == "/tea"


async def test_of_an_item_of_a_map_and_of_a_chunk() -> None:
    graph = Graph[list[str], dict[str, list[str]]]("items")
    listed = graph.add_map(lambda click: click.page, graph.add_node(clicks, graph.input), name="listed")
    streamed = graph.add_map(
        lambda click: click.page, graph.add_node(click_by_click, graph.input).stream, name="streamed"
    )
    graph.set_finish_point(listed, streamed)
    assert await graph.invoke(["/tea", "/cups"]) == {"listed": ["/tea", "/cups"], "streamed": ["/tea", "/cups"]}


async def test_of_a_loop_and_what_ends_it() -> None:
    graph = Graph[Click, Click]("longer")
    graph.set_finish_point(
        graph.add_loop(
            lambda click: Click(page=click.page, seconds=click.seconds + 1),
            graph.input,
            until=lambda click: click.seconds == 3,
            max_passes=5,
            name="longer",
        )
    )
    assert await graph.invoke(Click(page="/tea")) == Click(page="/tea", seconds=3)


async def test_of_what_stands_in_and_what_undoes() -> None:
    undone: list[str] = []

    def away(click: Click) -> Order:
        raise ConnectionError(click.page)

    graph = Graph[Click, str]("stood_in")
    order = graph.add_node(
        away,
        graph.input,
        retry=Retry(1),
        fallback=lambda click: Order(id=click.page),
        compensate=lambda click, order: undone.append(f"{click.page} {order.id}"),
    )
    graph.set_finish_point(graph.add_node(fails, order))
    assert (await graph.invoke(Click(page="/tea"), fakes={fails: lambda order: order.id})) == "/tea"
    with pytest.raises(RunFailed, match="no truck"):
        await graph.invoke(Click(page="/tea"))
    assert undone == ["/tea /tea"]


def fails(order: Order) -> str:
    raise ConnectionRefusedError(f"no truck for {order.id}")


async def test_of_an_outcome() -> None:
    graph = Graph[Click, str]("ended")
    failing = graph.add_node(fails, graph.add_node(lambda click: Order(id=click.page), graph.input, name="order"))
    graph.set_finish_point(graph.add_node(lambda ended: ended.status, failing.outcome, name="ended"))
    assert await graph.invoke(Click(page="/tea"), fakes={fails: lambda order: order.id}) == "succeeded"


async def test_its_edge_may_be_dead() -> None:
    graph = Graph[Click, str]("perhaps")
    long = graph.input.when(lambda click: click.seconds > 60)
    graph.set_finish_point(graph.add_node(lambda long, all_: f"{long} {all_.page}", long, graph.input, name="told"))
    assert await graph.invoke(Click(page="/tea")) == "None /tea"


async def test_what_is_annotated_as_anything_gets_the_json() -> None:
    def keys(click: Any) -> list[str]:
        return list(click)

    graph = Graph[Click, list[str]]("plain")
    graph.set_finish_point(graph.add_node(keys, graph.input))
    assert await graph.invoke(Click(page="/tea")) == ["page", "seconds"]
