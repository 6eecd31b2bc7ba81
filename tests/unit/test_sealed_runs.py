"""What a coordinator without a key does with values that it cannot read."""

import pytest

from beluga_stream.adapters.crypto.aesgcm import AesGcm
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.coordinator.admission import Admission
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import Parent, RunRequested
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Payload, Picked, Stored
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import NodeStatus
from tests.unit.graphs import edges, node, plan

NAMES = Topics("beluga", 1)
KEYS = AesGcm({"k": bytes(32)})
MAPPED = plan([node("map", NodeKind.MAP), node("after")], edges("input > map > after"), ["after"])


def _child(value: Payload) -> RunRequested:
    """A run that another one starts over one of its items."""
    parent = Parent(RunId("p"), "p", NodeKey("each[1]"))
    return RunRequested(run=RunId("c"), key="c", at_ms=1, graph="test", input=value, digest="d", parent=parent)


class _NoReader:
    """Nothing is asked of it: the catalog knows its graph."""


def _admission(payloads: Payloads) -> Admission:
    catalog = Catalog(_NoReader(), NAMES)  # type: ignore[arg-type]
    catalog.add(MAPPED.definition)
    return Admission(NAMES, catalog, payloads)


@pytest.mark.parametrize("has_key", [True, False])
async def test_a_map_over_an_item_of_a_sealed_list_takes_a_key_to_count_it(*, has_key: bool) -> None:
    blobs = MemoryBlobs()
    lists = await Payloads(blobs, cipher=KEYS).store("p", [["a"], ["b", "c"]])
    admission = _admission(Payloads(blobs, cipher=KEYS if has_key else None))
    event, found, refusal = await admission.admit(_child(Picked(lists, 1)), 1)
    assert found is not None
    assert refusal is None
    decision = reduce(found, None, event)
    assert decision is not None
    state = decision.state.nodes[NodeKey("map")]
    if has_key:
        assert (state.status, state.total) == (NodeStatus.WAITING, 2)
        return
    assert state.failure is not None
    assert "encrypted with a key that the coordinator does not have" in state.failure.message


@pytest.mark.parametrize("what", ["gone", "altered"])
async def test_a_child_whose_item_cannot_be_had_is_refused_and_its_parent_told(what: str) -> None:
    """Or the parent would wait for ever for a child that nobody begins."""
    blobs = MemoryBlobs()
    payloads = Payloads(blobs, cipher=KEYS)
    lists = await payloads.store("p", [["x" * 100]] * 100)
    assert isinstance(lists, Stored)
    if what == "gone":
        blobs.stored.clear()
    else:
        blobs.stored[lists.ref] = blobs.stored[lists.ref][:-1] + b"\0"
    _, found, refusal = await _admission(payloads).admit(_child(Picked(lists, 1)), 1)
    assert found is None
    assert refusal is not None
    rejected, told = codec.results.decode(refusal[0].value), codec.incoming.decode(refusal[1].value)
    assert rejected.code == told.failure.code == {"gone": "not_found", "altered": "tampered"}[what]
    assert (told.run, told.node, told.status) == ("p", "each[1]", "rejected")
