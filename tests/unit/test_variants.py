"""Models of a union that look alike as JSON are told of, where somebody would take one for the other."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from beluga_stream import Cache, Graph, Retry, chain, node
from beluga_stream.errors import RunFailed


class Yes(BaseModel):
    reason: str


class No(BaseModel):
    reason: str


class Firm(No): ...


@dataclass
class Left:
    number: int


@dataclass
class Right:
    number: int


class Told(BaseModel):
    kind: Literal["told"] = "told"
    reason: str


class Kept(BaseModel):
    kind: Literal["kept"] = "kept"
    reason: str


def decide(what: str) -> Yes | No:
    return Yes(reason=what) if what == "good" else No(reason=what)


def decide_firmly(what: str) -> No | Firm:
    return No(reason=what) if what == "good" else Firm(reason=what)


def side(what: str) -> Left | Right | None:
    if what == "none":
        return None
    return Left(number=1) if what == "good" else Right(number=1)


async def each(what: str) -> AsyncIterator[Yes | No]:
    yield decide(what)


def name_of_yes_or_no(one: Yes | No) -> str:
    return type(one).__name__


def name_of_yes(one: Yes) -> str:
    return type(one).__name__


def name_of_no(one: No) -> str:
    return type(one).__name__


def name_of_any(one: Any) -> str:
    return type(one).__name__


def names_of_each(several: list[Yes | No]) -> list[str]:
    return [type(one).__name__ for one in several]


def one_of(what: str) -> list[str]:
    return [what]


def looped() -> Graph[str, Any]:
    def again(one: Yes | No) -> Yes | No:
        return No(reason=one.reason)

    def begin(what: str) -> Yes | No:
        return Yes(reason=what)

    graph = Graph[str, Any]("looped")
    graph.set_finish_point(
        graph.add_loop(again, graph.add_node(begin, graph.input), until=lambda _: True, max_passes=1)
    )
    return graph


def mapped() -> Graph[str, Any]:
    graph = Graph[str, Any]("mapped")
    graph.set_finish_point(graph.add_node(names_of_each, graph.add_map(decide, graph.add_node(one_of, graph.input))))
    return graph


def selected() -> Graph[str, Any]:
    graph = Graph[str, Any]("selected")
    one = graph.first(graph.add_node(decide, graph.input))
    graph.set_finish_point(graph.add_node(name_of_yes_or_no, one))
    return graph


def fallen() -> Graph[str, Any]:
    @node(retry=Retry(1))
    def never(what: str) -> Yes | No:
        raise ValueError(what)

    def no(what: str) -> No:
        return No(reason=what)

    graph = Graph[str, Any]("fallen")
    graph.set_finish_point(graph.add_node(name_of_yes_or_no, graph.add_node(never, graph.input, fallback=no)))
    return graph


def cached() -> Graph[str, Any]:
    graph = Graph[str, Any]("cached")
    verdict = graph.add_node(decide, graph.input, cache=Cache(60))
    graph.set_finish_point(
        graph.first(graph.add_node(name_of_yes, verdict.case(Yes)), graph.add_node(name_of_no, verdict.case(No)))
    )
    return graph


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: chain(decide, name_of_yes_or_no), "decide: it returned a No, whose JSON is read as a Yes: give both"),
        (lambda: chain(decide), "decide: it returned a No, whose JSON is read as a Yes: give both"),
        (lambda: chain(decide_firmly), "it returned a Firm, whose JSON is read as a No"),
        (lambda: chain(side), "it returned a Right, whose JSON is read as a Left"),
        (lambda: chain(each), "it yielded a No, whose JSON is read as a Yes"),
        (cached, "it returned a No"),
        (looped, "it returned a No"),
        (mapped, "it returned a No"),
        (selected, "it returned a No"),
        (fallen, "it returned a No"),
    ],
    ids=["node", "result", "subclass", "dataclass", "chunk", "cache", "loop", "map", "selection", "fallback"],
)
async def test_a_model_whose_json_is_read_as_another_one_fails_its_node_at_once(
    make: Callable[[], Any], told: str
) -> None:
    with pytest.raises(RunFailed, match=re.escape(told)) as failed:
        await make().invoke("bad")
    assert failed.value.reason == "invalid_input"
    assert "attempts)" not in str(failed.value)


async def test_models_that_look_alike_are_given_to_whoever_need_not_tell_them_apart() -> None:
    graph = Graph[str, str]("routed")
    verdict = graph.add_node(decide, graph.input)
    graph.set_finish_point(
        graph.first(graph.add_node(name_of_yes, verdict.case(Yes)), graph.add_node(name_of_no, verdict.otherwise()))
    )
    assert [await graph.invoke(what) for what in ("good", "bad")] == ["Yes", "No"]
    assert await chain(decide, name_of_any).invoke("bad") == "dict"
    assert await chain(decide, name_of_yes_or_no).invoke("good") == "Yes"
    assert await chain(side).invoke("none") is None


async def test_a_field_that_tells_models_apart_is_enough() -> None:
    def tell(what: str) -> Told | Kept:
        return Told(reason=what) if what == "good" else Kept(reason=what)

    assert [await chain(tell).invoke(what) for what in ("good", "bad")] == [Told(reason="good"), Kept(reason="bad")]
