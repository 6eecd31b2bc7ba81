"""A durable graph that is started on its own is the child of a cover; without Temporal it is refused."""

from typing import Any

import pytest

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.catalog import Catalog, covered, publish
from beluga_stream.application.coordinator.admission import Admission
from beluga_stream.application.coordinator.children import start_child
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.commands import StartChild
from beluga_stream.domain.cover import WORKFLOW, cover, is_cover
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import GraphHash, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.errors import InvalidGraph
from tests.unit.engines import TOPICS
from tests.unit.graphs import edges, node, plan

DURABLE = plan([node("a")], edges("input > a"), ["a"], "sale", durable=True, timeout_ms=5)
PARENT = plan(
    [node("sub", NodeKind.GRAPH, child=DURABLE.hash, child_name="sale")], edges("input > sub"), ["sub"], "parent"
)
GRAND = plan(
    [node("sub", NodeKind.GRAPH, child=PARENT.hash, child_name="parent")], edges("input > sub"), ["sub"], "grand"
)
PLAIN = plan([node("a")], edges("input > a"), ["a"], "plain")


async def catalog() -> Catalog:
    log = MemoryLog()
    log.create(TOPICS.specs(["default"]))
    await publish(log, TOPICS, [each.definition for each in (GRAND, PARENT, DURABLE, PLAIN)])
    found = Catalog(log, TOPICS)
    await found.refresh()
    return found


_RUN = RunId("f" * 32)
_REQUEST: dict[str, Any] = {"run": _RUN, "key": _RUN, "at_ms": 7, "input": Inline(1), "digest": "d"}


def request(graph: str, definition: GraphHash | None = None) -> RunRequested:
    return RunRequested(**_REQUEST, graph=graph, definition=definition)


def test_runs_are_pinned_to_a_cover_whose_hash_never_changes() -> None:
    assert cover(DURABLE.definition).hash == Plan(cover(DURABLE.definition)).hash
    assert (DURABLE.hash, cover(DURABLE.definition).hash) == ("820f43d2b3acd8c7", "3304c7d9225183af")


async def test_whoever_starts_a_durable_graph_starts_its_cover() -> None:
    known = await catalog()
    admission = Admission(TOPICS, known, Payloads(MemoryBlobs()), workflows=True)
    for asked in (request("sale"), request("sale", DURABLE.hash)):
        _, found, refused = await admission.admit(asked, 0)
        assert refused is None
        assert found is not None
        assert is_cover(found.definition)
        assert found.starts_durable(WORKFLOW)
        assert found.definition.timeout_ms == 5
        assert covered(found).hash == DURABLE.hash
    assert known.plan(found.hash) is found, "a run that is pinned to it finds it again"


@pytest.mark.parametrize("undoes", [False, True])
def test_a_durable_run_that_undoes_what_it_did_is_not_cut_short_by_what_stands_for_it(undoes: bool) -> None:  # noqa: FBT001
    durable = plan(
        [node("a", has_compensation=undoes), node("b")], edges("input > a > b"), ["b"], durable=True, timeout_ms=5
    )
    over = Plan(cover(durable.definition), {durable.hash: durable})
    begun = reduce(over, None, RunRequested(**_REQUEST, graph="test", timeout_ms=3))
    assert begun is not None
    assert begun.state.due_ms == (None if undoes else 10)
    (started,) = (command for command in begun.commands if isinstance(command, StartChild))
    assert start_child(over, begun.state, started, 7).timeout_ms == 3


async def test_a_list_of_graphs_has_the_durable_one_and_not_its_cover() -> None:
    found = {each.definition.name: each.hash for each in (await catalog()).plans()}
    assert found["sale"] == DURABLE.hash


@pytest.mark.parametrize("graph", ["sale", "parent", "grand"])
async def test_without_temporal_what_needs_it_is_refused_with_the_reason(graph: str) -> None:
    admission = Admission(TOPICS, await catalog(), Payloads(MemoryBlobs()))
    _, found, refused = await admission.admit(request(graph), 0)
    assert found is None
    assert refused is not None
    assert b'"code":"invalid_state"' in (refused[0].value or b"")
    assert b"BELUGA_TEMPORAL_ADDRESS" in (refused[0].value or b"")


async def test_without_temporal_other_graphs_run() -> None:
    admission = Admission(TOPICS, await catalog(), Payloads(MemoryBlobs()))
    _, found, refused = await admission.admit(request("plain"), 0)
    assert refused is None
    assert found is not None


def test_a_node_may_not_take_the_name_of_what_stands_for_durable_graphs() -> None:
    with pytest.raises(InvalidGraph, match="name it otherwise"):
        plan([node(WORKFLOW), node("b")], edges(f"input > {WORKFLOW} > b"), ["b"])
