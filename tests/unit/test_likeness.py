"""Graphs of one definition that run different functions are refused, and those that run the same are not."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from beluga_stream import Chain, Graph, chain
from beluga_stream.bootstrap.deployment import LoadedDeployment
from beluga_stream.errors import InvalidGraph
from beluga_stream.patterns import router


class Agent:
    def __init__(self, language: str) -> None:
        self.language = language

    async def answer(self, question: str) -> str:
        return f"{self.language}: {question}"


def adding(number: int) -> Callable[[int], int]:
    def add(value: int) -> int:
        return value + number

    return add


def power(value: int, exponent: int) -> int:
    return int(value**exponent)


def both(first: Chain[Any, Any], second: Chain[Any, Any]) -> Chain[Any, Any]:
    return chain(first, second, name="both")


async def test_two_subgraphs_that_only_their_functions_tell_apart_are_refused() -> None:
    for one, other in (
        (chain(adding(1)), chain(adding(2))),
        (chain(lambda value: value + 1), chain(lambda value: value * 100)),
        (chain(functools.partial(power, exponent=2)), chain(functools.partial(power, exponent=3))),
    ):
        with pytest.raises(InvalidGraph, match="are alike but for the function of their node"):
            await both(one, other).invoke(2)


async def test_methods_of_two_objects_are_two_functions() -> None:
    french, english = Agent("french"), Agent("english")

    def choose(question: str) -> str:
        return "fr" if "bonjour" in question else "en"

    with pytest.raises(InvalidGraph, match="two graphs named 'answer' are alike"):
        router("desk", choose, {"fr": chain(french.answer), "en": chain(english.answer)}).compile()
    desk = router(
        "desk", choose, {"fr": chain(french.answer, name="french"), "en": chain(english.answer, name="english")}
    )
    assert await desk.invoke("bonjour") == "french: bonjour"
    assert await desk.invoke("hello") == "english: hello"


async def test_one_that_is_made_twice_is_the_same() -> None:
    assert await both(chain(adding(3)), chain(adding(3))).invoke(1) == 7
    squares = [chain(functools.partial(power, exponent=2)) for _ in range(2)]
    assert await both(*squares).invoke(2) == 16
    agent = Agent("any")
    assert await both(chain(agent.answer), chain(agent.answer)).invoke("x") == "any: any: x"


def test_conditions_count_too() -> None:
    def branching(least: int) -> Graph[int, int]:
        graph = Graph[int, int]("branching")
        number = graph.add_node(adding(0), graph.input, name="number")
        large = graph.add_node(adding(1), number.when(lambda value: value >= least), name="large")
        small = graph.add_node(adding(2), number.otherwise(), name="small")
        graph.set_finish_point(graph.first(large, small))
        return graph

    def pair(one: int, other: int) -> Graph[int, int]:
        graph = Graph[int, int]("pair")
        first = graph.add_node(branching(one), graph.input, name="first")
        graph.set_finish_point(graph.add_node(branching(other), first, name="second"))
        return graph

    pair(5, 5).compile()
    with pytest.raises(InvalidGraph, match="for the function of their node 'number'"):
        pair(5, 6).compile()


def test_what_ends_a_loop_counts_too() -> None:
    def counting(most: int) -> Graph[int, int]:
        graph = Graph[int, int]("counting")
        body = chain(adding(1), name="body")
        graph.set_finish_point(graph.add_loop(body, graph.input, until=lambda value: value >= most, max_passes=9))
        return graph

    def pair(one: int, other: int) -> Graph[int, int]:
        graph = Graph[int, int]("pair")
        first = graph.add_node(counting(one), graph.input, name="first")
        graph.set_finish_point(graph.add_node(counting(other), first, name="second"))
        return graph

    pair(5, 5).compile()
    with pytest.raises(InvalidGraph, match="for the function of their node 'body'"):
        pair(5, 6).compile()


def test_subgraphs_of_different_graphs_are_compared_where_they_are_deployed() -> None:
    def one(name: str, agent: Agent) -> Chain[Any, Any]:
        return chain(chain(agent.answer), name=name)

    agent = Agent("any")
    assert set(LoadedDeployment([one("a", agent), one("b", agent)]).works) == {"a", "b"}
    with pytest.raises(InvalidGraph, match="are alike"):
        LoadedDeployment([one("a", agent), one("b", Agent("other"))])
