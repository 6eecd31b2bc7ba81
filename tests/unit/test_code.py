"""A run that began with an earlier definition goes on with what is deployed, node by node, where that fits."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from beluga_stream import Graph, Ref, Retry, Stream, chain
from beluga_stream.application.messages import NodeReady
from beluga_stream.application.worker.code import Code
from beluga_stream.domain.ids import NodeKey, NodeName, RunId
from beluga_stream.domain.plan import Plan
from beluga_stream.ports.handlers import Program
from beluga_stream.testing.deployed import deployed

Change = Callable[[Graph[int, Any], Ref[int]], Ref[Any]]


def first(number: int) -> int:
    return number


def large(number: int) -> bool:
    return number > 1


def second(number: int) -> int:
    return number


def third(number: int) -> int:
    return number


def other_name(value: int) -> int:
    return value


def of_input(input: int) -> int:  # noqa: A002 - as the parameter of a graph
    return input


def of_two(number: int, more: int) -> int:
    return number + more


async def streamed(number: int) -> AsyncIterator[int]:
    yield number


async def read(numbers: Stream[int]) -> int:
    return sum([number async for number in numbers])


def collected(numbers: list[int]) -> int:
    return sum(numbers)


def program(change: Change) -> Program:
    """A graph whose node `kept` is as `change` has it."""
    graph = Graph[int, Any]("graph")
    graph.set_finish_point(change(graph, graph.add_node(first, graph.input)))
    return graph.compile()


def work(of: Program, **changes: Any) -> NodeReady:
    """What a coordinator asks for that pins a run to this definition."""
    name = NodeName(NodeKey("kept"))
    asked = {
        "run": RunId("run"),
        "key": "run",
        "root": RunId("run"),
        "graph": "graph",
        "definition": of.definition.hash,
        "node": NodeKey("kept"),
        "name": name,
        "attempt": 1,
        "arguments": (),
        "generation": 0,
        "at_ms": 0,
        "shape": Plan(of.definition).shape(name),
    }
    return NodeReady(**asked | changes)


def plain(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(second, before, name="kept")


def tried_longer(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(second, before, name="kept", retry=Retry(9), timeout=60, queue="large")


def followed(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(third, graph.add_node(second, before, name="kept"))


def done_otherwise(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(lambda number: number + 1, before, name="kept")


def renamed(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(other_name, before, name="kept")


def fed_by_two(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(of_two, before, graph.input, name="kept")


def streaming(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(streamed, before, name="kept")


def reading(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(read, graph.add_node(streamed, before).stream, name="kept")


def reading_at_the_end(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_node(collected, graph.add_node(streamed, before), name="kept")


def branching(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    kept = graph.add_node(second, before, name="kept")
    return graph.first(
        graph.add_node(third, kept.when(large)), graph.add_node(other_name, kept.otherwise(), name="smaller")
    )


def branching_elsewhere(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    kept = graph.add_node(second, before, name="kept")
    return graph.first(
        graph.add_node(third, kept.when(large)), graph.add_node(other_name, kept.otherwise(), name="another")
    )


def looping(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_loop(of_input, before, until=large, max_passes=3, name="kept")


def looping_over_a_graph(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_loop(chain(second), before, until=large, max_passes=3, name="kept")


def looping_over_another(graph: Graph[int, Any], before: Ref[int]) -> Ref[Any]:
    return graph.add_loop(chain(second, third), before, until=lambda number: number > 5, max_passes=9, name="kept")


def test_a_loop_that_has_another_graph_is_still_asked_whether_it_is_done() -> None:
    latest = program(looping_over_another)
    assert Code(deployed([latest])).of(work(program(looping_over_a_graph))) is latest


@pytest.mark.parametrize("now", [plain, tried_longer, followed, done_otherwise])
def test_what_asks_the_same_of_its_function_is_done_by_the_deployed_one(now: Change) -> None:
    latest = program(now)
    assert Code(deployed([latest])).of(work(program(plain))) is latest


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (plain, renamed),
        (plain, fed_by_two),
        (plain, streaming),
        (plain, branching),
        (branching, plain),
        (branching, branching_elsewhere),
        (reading, reading_at_the_end),
        (looping, looping_over_a_graph),
        (looping_over_a_graph, looping),
    ],
)
def test_what_asks_something_else_waits_for_its_code(before: Change, now: Change) -> None:
    assert Code(deployed([program(now)])).of(work(program(before))) is None


def test_the_definition_itself_comes_first() -> None:
    before, latest = program(plain), program(followed)
    assert Code(deployed([before, latest])).of(work(before)) is before


def test_a_graph_that_is_gone_has_no_code() -> None:
    assert Code(deployed([program(plain)])).of(work(program(followed), graph="gone")) is None


def test_an_earlier_coordinator_does_not_say_what_is_asked() -> None:
    assert Code(deployed([program(plain)])).of(work(program(followed), shape="")) is None
