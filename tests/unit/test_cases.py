"""Cases of several types, and of subclasses of what a node gives."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

import pytest
from pydantic import BaseModel, SerializeAsAny

from beluga_stream import Graph
from beluga_stream.errors import InvalidGraph


class Approved(BaseModel):
    reason: str
    by: str = "us"


class Rejected(BaseModel):
    reason: str
    code: int = 0


class Postponed(BaseModel):
    days: int


def judge(what: str) -> Approved | Rejected | Postponed:
    if what == "later":
        return Postponed(days=3)
    return Approved(reason=what) if what == "good" else Rejected(reason=what, code=7)


def decided(one: Approved | Rejected) -> str:
    return f"{type(one).__name__} for {one.reason}"


def put_off(one: Postponed) -> str:
    return f"in {one.days} days"


BOTH: list[Any] = [Approved | Rejected, Union[Approved, Rejected]]  # noqa: UP007 - both are written


def desk(left: Callable[[Any], Any], both: Any = BOTH[0]) -> Graph[str, str]:
    graph = Graph[str, str]("desk")
    verdict = graph.add_node(judge, graph.input)
    graph.set_finish_point(
        graph.first(graph.add_node(decided, verdict.case(both)), graph.add_node(put_off, left(verdict)))
    )
    return graph


@pytest.mark.parametrize("both", BOTH, ids=["by a bar", "by Union"])
@pytest.mark.parametrize("left", [lambda ref: ref.case(Postponed), lambda ref: ref.otherwise()], ids=["case", "rest"])
async def test_a_case_of_several_types_holds_for_each_of_them(left: Callable[[Any], Any], both: Any) -> None:
    graph = desk(left, both)
    assert [await graph.invoke(what) for what in ("good", "bad", "later")] == [
        "Approved for good",
        "Rejected for bad",
        "in 3 days",
    ]


def test_a_case_of_several_types_is_checked_as_one_of_each_is() -> None:
    graph = Graph[str, str]("half")
    graph.set_finish_point(graph.add_node(decided, graph.add_node(judge, graph.input).case(Approved | Rejected)))
    with pytest.raises(InvalidGraph, match=r"finish 'decided' may not be reached, when no condition of 'judge' holds"):
        graph.compile()
    graph = Graph[str, str]("wider")
    wider: Any = Approved | Postponed
    graph.set_finish_point(graph.add_node(decided, graph.add_node(judge, graph.input).case(wider)))
    with pytest.raises(InvalidGraph, match=r"'one' of node 'decided' takes .*, and 'judge' gives .*Postponed"):
        graph.compile()
    assert graph.input.case(wider).origin.condition.describe() == "case(Approved | Postponed)"  # type: ignore[union-attr]


class Animal(BaseModel): ...


class Dog(Animal):
    bark: str


class Cat(Animal):
    lives: int = 9


class Puppy(Dog): ...


@dataclass
class Shape:
    name: str


@dataclass
class Circle(Shape):
    radius: int


def keep(one: Any) -> str:
    return type(one).__name__


def cased(kind: Any, *cases: Any) -> Graph[str, str]:
    def find(what: str) -> Any:
        return Puppy(bark=what) if what == "woof" else Dog(bark=what)

    find.__annotations__["return"] = kind
    graph = Graph[str, str]("zoo")
    found = graph.add_node(find, graph.input)
    kept = [graph.add_node(keep, found.case(one), name=f"keep_{i}") for i, one in enumerate(cases)]
    graph.set_finish_point(graph.first(*kept, graph.add_node(keep, found.otherwise())))
    return graph


@pytest.mark.parametrize(
    ("kind", "case", "told"),
    [
        (Animal, Dog, "without 'bark' of Dog: annotate it with each type that it gives, as `Dog | ...`"),
        (Animal | str, Dog, "without 'bark' of Dog"),
        (Animal, str | Cat, "without 'lives' of Cat"),
        (Shape, Circle, "without 'radius' of Circle"),
    ],
)
def test_a_case_of_a_subclass_whose_fields_would_be_lost_is_refused(kind: Any, case: Any, told: str) -> None:
    with pytest.raises(InvalidGraph, match=re.escape(told)) as refused:
        cased(kind, case).compile()
    assert "case(" in str(refused.value)
    assert refused.value.ids["node"] == "find"


def test_a_case_of_what_goes_through_a_gate_is_refused_by_the_name_of_its_node() -> None:
    graph = Graph[Animal, str]("gated")
    graph.set_finish_point(graph.add_node(keep, graph.input.case(Dog)))
    with pytest.raises(InvalidGraph, match="what 'input' gives, which is annotated Animal"):
        graph.compile()


@pytest.mark.parametrize(
    "kind", [Dog | Cat, Dog, Animal | Dog, SerializeAsAny[Animal], SerializeAsAny[Animal] | str, Any]
)
async def test_a_case_of_a_subclass_that_keeps_its_fields_is_taken(kind: Any) -> None:
    graph = cased(kind, Puppy, Dog)
    assert await graph.invoke("woof") == "dict"
