"""A parameter whose edge is dead has its default, and one whose edge gives None has None."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from beluga_stream import Graph


def upper(text: str) -> str:
    return text.upper()


def by_name(text: str, more: str | None = "+") -> str:
    return f"{text}{more}"


def by_position(text: str, more: str = "+", /) -> str:
    return f"{text}{more}"


def of_any_type(text: Any, more: Any = "+") -> str:
    return f"{text}{more}"


@pytest.mark.parametrize(
    "take",
    [by_name, by_position, of_any_type, partial(by_position)],
    ids=["by name", "by position", "of any type", "a partial"],
)
async def test_a_default_of_any_kind_stands_for_an_edge_that_is_dead(take: Callable[..., str]) -> None:
    graph = Graph[str, str]("dead")
    word = graph.add_node(upper, graph.input)
    graph.set_finish_point(graph.add_node(take, word, word.when(lambda _: False), name="take"))
    assert await graph.invoke("a") == "A+"


@pytest.mark.parametrize("take", [by_name, of_any_type])
async def test_an_edge_that_gives_none_leaves_no_default(take: Callable[..., str]) -> None:
    def none(text: str) -> None: ...

    graph = Graph[str, str]("none")
    graph.set_finish_point(graph.add_node(take, graph.input, graph.add_node(none, graph.input), name="take"))
    assert await graph.invoke("a") == "aNone"


async def test_a_fake_has_its_own_default_or_none_where_an_edge_is_dead() -> None:
    def another(text: str, more: str = "?") -> str:
        return f"{text}{more}"

    def without(text: str, more: str | None) -> str:
        return f"{text}{more}"

    graph = Graph[str, str]("faked")
    word = graph.add_node(upper, graph.input)
    graph.set_finish_point(graph.add_node(by_name, word, word.when(lambda _: False)))
    assert await graph.invoke("a", fakes={by_name: another}) == "A?"
    assert await graph.invoke("a", fakes={by_name: without}) == "ANone"
