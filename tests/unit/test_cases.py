"""Dispatch by type: unions of cases, and values whose type must outlive JSON."""

from collections.abc import Callable
from typing import Any, Union

import pytest
from pydantic import BaseModel

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
