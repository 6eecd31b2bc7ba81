"""Names that `type` statements give to types, which Python has from 3.12 on: as good as what they stand for."""

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from beluga_stream import Graph, InvalidGraph, Outcome, Stream

T = TypeVar("T")


class Short(BaseModel):
    text: str


class Long(BaseModel):
    pages: list[str]


Kind: Any = TypeAliasType("Kind", Short | Long)
Words: Any = TypeAliasType("Words", list[str])
Some: Any = TypeAliasType("Some", list[T], type_params=(T,))
Maybe: Any = TypeAliasType("Maybe", int | None)
Number: Any = TypeAliasType("Number", int)
Numbers: Any = TypeAliasType("Numbers", Stream[int])
Ended: Any = TypeAliasType("Ended", Outcome[int])
Tree: Any = TypeAliasType("Tree", "dict[str, Tree] | int")


def triage(text: str) -> Kind:
    return Short(text=text) if len(text) < 5 else Long(pages=text.split())


def brief(short: Short) -> str:
    return f"short {short.text}"


def deep(long: Long) -> str:
    return f"long {len(long.pages)}"


def words(text: str) -> Words:
    return text.split()


def some(text: str) -> Some[str]:
    return text.split()


def told(given: Any) -> str:
    return str(given)


def length(text: str) -> Number:
    return len(text)


async def count(text: str) -> AsyncIterator[Number]:
    for letter in text:
        yield ord(letter)


async def total(numbers: Numbers) -> str:
    return str(sum([number async for number in numbers]))


def ended(outcome: Ended) -> str:
    return f"{outcome.status} {outcome.value}"


def both(text: str, number: Maybe) -> str:
    return f"{text} {number}"


def tree(text: str) -> Tree:
    return {"leaf": {text: 1}}


def leaves(grown: Tree) -> str:
    return str(grown)


G = Graph[str, str]


def branches(graph: G) -> None:
    kind = graph.add_node(triage, graph.input)
    graph.set_finish_point(graph.first(graph.add_node(brief, kind.case(Short)), graph.add_node(deep, kind.case(Long))))


def whole(graph: G) -> None:
    graph.set_finish_point(graph.add_node(told, graph.add_node(triage, graph.input).case(Kind)))


def items(graph: G) -> None:
    graph.set_finish_point(graph.add_node(told, graph.add_map(str.upper, graph.add_node(words, graph.input))))


def items_of_some(graph: G) -> None:
    graph.set_finish_point(graph.add_node(told, graph.add_map(str.upper, graph.add_node(some, graph.input))))


def stream(graph: G) -> None:
    graph.set_finish_point(graph.add_node(total, graph.add_node(count, graph.input).stream))


def outcome(graph: G) -> None:
    graph.set_finish_point(graph.add_node(ended, graph.add_node(length, graph.input).outcome))


def optional(graph: G) -> None:
    number = graph.add_node(length, graph.input.when(str.isupper))
    graph.set_finish_point(graph.add_node(both, graph.input, number))


def holds_itself(graph: G) -> None:
    graph.set_finish_point(graph.add_node(leaves, graph.add_node(tree, graph.input)))


@pytest.mark.parametrize(
    ("draw", "result"),
    [
        (branches, "short ab"),
        (whole, "{'text': 'ab'}"),
        (items, "['AB']"),
        (items_of_some, "['AB']"),
        (stream, "195"),
        (outcome, "succeeded 2"),
        (optional, "ab None"),
        (holds_itself, "{'leaf': {'ab': 1}}"),
    ],
)
async def test_it_stands_for_its_type(draw: Callable[[G], None], result: str) -> None:
    graph = G("aliased")
    draw(graph)
    assert await graph.invoke("ab") == result


def test_what_does_not_fit_is_refused_all_the_same() -> None:
    graph = G("aliased")
    graph.set_finish_point(graph.add_node(brief, graph.add_node(length, graph.input)))
    with pytest.raises(InvalidGraph, match="takes Short, and 'length' gives Number"):
        graph.compile()
