"""Options of nodes and graphs that are none: refused where the graph is built, with what would be right."""

from typing import Any, get_type_hints

import pytest

from beluga_stream import Graph, Limit, Retry, Topic, node
from beluga_stream.api.node import NodeOptions
from beluga_stream.api.options import _WANTED
from beluga_stream.errors import InvalidConfig, InvalidGraph


def increase(number: int) -> int:
    return number + 1


def test_each_option_has_its_rule() -> None:
    assert _WANTED.keys() == get_type_hints(NodeOptions).keys()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timout": 5}, "timout= is no option: is timeout= meant?"),
        ({"frobnicate": 5}, "frobnicate= is no option: there are name, retry, "),
        ({"retry": 3}, "retry=3 does not fit: give a Retry, as "),
        ({"timeout": "10s"}, "timeout='10s' does not fit: give seconds, or a timedelta"),
        ({"timeout": True}, "timeout=True does not fit"),
        ({"executor": "proces"}, "executor='proces' does not fit: give 'async', 'thread' or 'process'"),
        ({"queue": "my queue"}, "queue='my queue' does not fit"),
        ({"on_failure": "ignore"}, "on_failure='ignore' does not fit: give 'fail' or 'continue'"),
        ({"on_failure": []}, r"on_failure=\[\] does not fit"),
        ({"resume": 1}, "resume=1 does not fit: give True or False"),
        ({"max_crashes": "3"}, "max_crashes='3' does not fit: give a whole number"),
        ({"limit": 3}, "limit=3 does not fit: give a Limit"),
        ({"limit": [3]}, r"limit=\[3\] does not fit"),
        ({"cache": 60}, "cache=60 does not fit: give a Cache"),
        ({"name": 7}, "name=7 does not fit: give a text"),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else "",
)
def test_what_is_no_option_is_refused_by_node_and_name(options: dict[str, Any], told: str) -> None:
    graph = Graph[int, int]("g")
    with pytest.raises(InvalidGraph, match=f"graph 'g', node '?[a-z7]+'?: {told}"):
        graph.add_node(increase, graph.input, **options)
    with pytest.raises(InvalidGraph, match=told):
        graph.add_loop(increase, graph.input, until=bool, max_passes=2, **options)


def test_what_stands_at_the_function_is_looked_at_too() -> None:
    graph = Graph[int, int]("g")
    with pytest.raises(InvalidGraph, match="node 'increase': retry=3 does not fit"):
        graph.add_node(node(retry=3)(lambda number: number), graph.input, name="increase")  # type: ignore[arg-type]


def test_what_fits_is_taken() -> None:
    graph = Graph[int, int]("g")
    limits = [Limit(2), Limit(3, name="shared")]
    graph.set_finish_point(graph.add_node(increase, graph.input, retry=Retry(1), limit=limits, queue="gpu-1"))
    assert graph.compile().definition.nodes[0].queue == "gpu-1"


def test_a_graph_and_a_trigger_say_what_they_take() -> None:
    graph = Graph[int, int]("g")
    with pytest.raises(InvalidGraph, match=r"trigger\('orders'\) takes a Topic: Topic\('orders', TypeOfItsEvents\)"):
        graph.trigger("orders")  # type: ignore[call-overload]
    with pytest.raises(InvalidConfig, match="no topic of Kafka can have this name"):
        Topic("my orders", int)
    limited = Graph[int, int]("limited", limit=3)  # type: ignore[arg-type]
    limited.set_finish_point(limited.add_node(increase, limited.input))
    with pytest.raises(InvalidGraph, match="limit=3: give a Limit"):
        limited.compile()
