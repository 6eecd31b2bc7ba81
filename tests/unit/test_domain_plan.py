"""What a plan refuses, and that equal graphs have equal hashes."""

from random import Random

import pytest
from msgspec.structs import replace

from beluga_stream.domain.definition import Definition, EdgeMode, Join, Node, NodeKind
from beluga_stream.domain.ids import (
    index_of,
    is_page,
    is_undo,
    item_key,
    node_of,
    page_key,
    pass_key,
    undo_key,
)
from beluga_stream.domain.plan import Plan
from beluga_stream.errors import InvalidGraph
from tests.unit.graphs import CHILD, edge, edges, name, node, plan
from tests.unit.random_plans import random_plan


def single(declared: Node) -> Plan:
    return plan([declared], [edge("input", declared.name)], [declared.name])


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (node("input"), "another name"),
        (node("a[1]"), "another name"),
        (node("a#1"), "another name"),
        (node("a:b"), "another name"),
        (node("map", NodeKind.MAP, max_parallel=0), "max_parallel is 0"),
        (node("loop", NodeKind.LOOP, max_passes=0), "max_passes is 0"),
        (node("sub", NodeKind.GRAPH), "names none"),
        (node("wait", NodeKind.WAIT), "name one"),
        (node("pick", NodeKind.SELECT, join=Join.N_OF, count=2), "it waits for 2 of 1 sources"),
        (node("pick", NodeKind.SELECT, join=Join.N_OF, count=0), "it waits for 0 of 1 sources"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_node_that_could_not_run_is_refused(declared: Node, told: str) -> None:
    with pytest.raises(InvalidGraph, match=told.replace("[", r"\[")) as caught:
        single(declared)
    assert "graph 'test'" in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "lines", "finish", "told"),
    [
        ("aa", ["input > a"], "a", "'a' is declared twice"),
        ("a", ["input > a"], "", "it has no finish"),
        ("a", ["input > a > b"], "a", "names 'b', which is no node"),
        ("a", ["input > a > input"], "a", "names 'input', which is no node"),
        ("a", ["input > a"], "b", "the finish point 'b' is no node"),
        ("ab", ["input > a > b > a"], "b", "a cycle that is not declared"),
        ("ab", ["input > a"], "a", "node 'b' is not reachable"),
    ],
)
def test_a_graph_that_could_not_run_is_refused(nodes: str, lines: list[str], finish: str, told: str) -> None:
    with pytest.raises(InvalidGraph, match=told):
        plan([node(each) for each in nodes], edges(*lines), list(finish))


def test_a_map_needs_an_edge_that_carries_a_list() -> None:
    with pytest.raises(InvalidGraph, match="needs a list"):
        plan([node("map", NodeKind.MAP)], [edge("input", "map", EdgeMode.ORDER)], ["map"])


def test_equal_graphs_have_equal_hashes_in_whatever_order_they_were_written() -> None:
    for seed in range(50):
        found = random_plan(Random(seed), 8).definition
        selects = {each.name for each in found.nodes if each.kind is NodeKind.SELECT}
        shuffled = list(found.edges)
        Random(seed).shuffle(shuffled)
        ordered = iter([each for each in found.edges if each.target in selects])
        mixed = replace(
            found,
            nodes=found.nodes[::-1],
            edges=tuple(next(ordered) if each.target in selects else each for each in shuffled),
            finish=found.finish[::-1],
        )
        # Of a select node alone the order of sources means something; between selects it does not.
        if len(selects) < 2:
            assert mixed.hash == found.hash
        assert replace(found, name="other").hash != found.hash


def test_the_order_of_a_selects_sources_is_part_of_the_hash() -> None:
    def picking(*lines: str) -> Definition:
        select = node("pick", NodeKind.SELECT, join=Join.FIRST)
        return plan([node("a"), node("b"), select], edges(*lines), ["pick"]).definition

    one = picking("input > a > pick", "input > b > pick")
    assert one.hash != picking("input > b > pick", "input > a > pick").hash


def test_keys_tell_what_they_belong_to() -> None:
    it = name("it")
    assert {node_of(key) for key in (it, item_key(it, 3), page_key(it, 0, 64), pass_key(it, 2), undo_key(it))} == {it}
    assert index_of(item_key(it, 3)) == 3
    assert index_of(pass_key(it, 2)) == 2
    assert [is_page(key) for key in (it, item_key(it, 3), page_key(it, 0, 64))] == [False, False, True]
    assert is_undo(undo_key(it))
    assert not is_undo(it)


def test_every_node_comes_after_its_sources() -> None:
    for seed in range(50):
        found = random_plan(Random(seed), 8)
        place = {each: number for number, each in enumerate(found.order)}
        assert all(place.get(each.source, -1) < place[each.target] for each in found.definition.edges)
    assert CHILD.order == ("one", "two")
