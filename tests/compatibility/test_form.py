"""What an earlier engine has written is read, and loses nothing when it is written again."""

from collections.abc import Iterator
from typing import Any, get_args

import orjson
import pytest

from beluga_stream.application import codec
from beluga_stream.application.codec import Codec
from beluga_stream.application.coordinator.early import PREFIX
from beluga_stream.application.ingest.schedules import PREFIX as SCHEDULED
from beluga_stream.application.messages import Incoming, Notice, Result, TriggerEvent
from beluga_stream.application.topics import Topics
from beluga_stream.domain.commands import Command
from beluga_stream.domain.frozen import Frozen
from beluga_stream.domain.payload import Payload
from tests.compatibility.graphs import cases_of
from tests.compatibility.recording import NAMES, Recording

TOPICS = Topics(partitions=2)
CODECS: dict[str, Codec[Any]] = {
    TOPICS.run_requests: codec.incoming,
    TOPICS.run_events: codec.incoming,
    TOPICS.node_done: codec.incoming,
    TOPICS.run_results: codec.results,
    TOPICS.control: codec.control,
    TOPICS.runs: codec.summaries,
    TOPICS.graphs: codec.definitions,
    TOPICS.trigger_events: codec.gathering_events,
    TOPICS.node_ready("default"): codec.node_ready,
    TOPICS.node_ready("later"): codec.node_ready,
}

SINCE = {"dispatch_lost", "run_stalled", "stream_void"}
"""Kinds of records that are newer than every recording. The next recording has them: then take them out."""

SELDOM = {
    "cancel_child",
    "reject_run",
    "retry_child",
    "broadcast_cancel",
    "return_slot",
    "signal_child",
    "override_child",
}
"""Commands that no row of a recording happens to hold, since their records were sent before it was made."""

UNUSED = {
    ("BegunNotice", "generation"),
    ("ChildFinished", "began"),
    ("Definition", "durable"),
    ("Definition", "takes"),
    ("Definition", "version"),
    ("Failure", "retry_after_ms"),
    ("FiredRow", "parked"),
    ("Gathered", "names"),
    ("Heartbeat", "begun"),
    ("Heartbeat", "generation"),
    ("LeaseExpired", "begun"),
    ("LeaseExpired", "generation"),
    ("Limit", "key"),
    ("LimitRow", "arrival_ms"),
    ("Node", "max_crashes"),
    ("NodeChange", "branches"),
    ("NodeFailed", "crashed_on"),
    ("NodeFailed", "generation"),
    ("NodeParked", "worker"),
    ("NodeReady", "apart"),
    ("NodeReady", "feed"),
    ("NodeReady", "links"),
    ("NodeReady", "shape"),
    ("NodeReleased", "generation"),
    ("NodeStarted", "generation"),
    ("NodeState", "came"),
    ("NodeState", "fed"),
    ("NodeState", "handed"),
    ("NodeStreaming", "generation"),
    ("NodeSucceeded", "generation"),
    ("Page", "attempts"),
    ("Page", "stream"),
    ("Page", "timeout_ms"),
    ("Parent", "began"),
    ("RunChange", "digest"),
    ("RunRequested", "again"),
    ("RunRequested", "fork"),
    ("RunRequested", "keys"),
    ("RunRequested", "offset"),
    ("RunRequested", "timeout_ms"),
    ("RunState", "fork"),
    ("RunState", "keys"),
    ("RunState", "request"),
    ("RunState", "timeout_ms"),
    ("SignalReceived", "parent"),
    ("SlotWanted", "value"),
    ("Stored", "parts"),
    ("Stored", "sealed"),
    ("Summary", "forked_from"),
    ("Summary", "request"),
    ("Summary", "retry_until_ms"),
}
"""Members that no recorded value has. What is new belongs here until the next recording has it."""


def values_of(name: str) -> Iterator[tuple[Codec[Any], Any]]:
    """Every value of a recording with what reads it."""
    recording = Recording(name)
    for record, tree in recording.records():
        if record.topic in CODECS and tree.get("type") != "no_such_kind":
            yield CODECS[record.topic], tree
    for _, key, _, tree in recording.rows():
        if key.startswith(PREFIX):
            yield codec.incoming, tree
        elif key.startswith("~limit/"):
            yield codec.slots if key.count("/") > 1 else codec.limits, tree
        elif not key.startswith("~"):
            yield codec.kept, tree
    for _, key, _, tree in recording.gatherings():
        yield _of_gatherings(key), tree


def _of_gatherings(key: str) -> Codec[Any]:
    """What reads a row of the gatherers' table."""
    if key.startswith(SCHEDULED):
        return codec.schedules
    if "/e/" in key:
        return codec.items
    return codec.fired if "/f/" in key else codec.gatherings


def kept_whole(before: Any, after: Any) -> bool:
    """Whether all that was said before is said after, the same way; more may be."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(
            key in after and kept_whole(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list):
        return isinstance(after, list) and len(before) == len(after) and all(map(kept_whole, before, after))
    return bool(before == after)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_read_and_written_again_with_all_it_said(name: str) -> None:
    for reads, tree in values_of(name):
        again = orjson.loads(reads.encode(reads.decode(orjson.dumps(tree))))
        assert kept_whole(tree, again), f"{tree} became {again}"


def test_whole_is_more_than_similar() -> None:
    assert kept_whole({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4})
    for lost in ({}, {"a": [1]}, {"a": [1, {}]}, {"a": [1, {"b": 3}]}, {"a": {"0": 1}}):
        assert not kept_whole({"a": [1, {"b": 2}]}, lost)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_begins_with_its_version(name: str) -> None:
    assert all(next(iter(tree)) == "v" for _, tree in values_of(name))


def test_every_kind_is_in_a_recording() -> None:
    found = {tree.get("type") for name in NAMES for _, tree in values_of(name)}
    families = (Incoming, Result, Notice, TriggerEvent)
    kinds = {kind.__struct_config__.tag for family in families for kind in get_args(family)}
    assert kinds - found == SINCE
    decided = {
        command["type"]
        for name in NAMES
        for reads, tree in values_of(name)
        if reads is codec.kept
        for command in tree.get("intents", ())
    }
    assert {kind.__struct_config__.tag for kind in get_args(Command)} - decided == SELDOM


def members(value: Any, tree: Any) -> Iterator[tuple[str, str, bool]]:
    """Every member of every struct in a value, and whether it is in the tree."""
    if isinstance(value, Frozen):
        for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            yield type(value).__name__, name, encoded in tree
            if encoded in tree:
                yield from members(getattr(value, name), tree[encoded])
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from members(each, tree[key])
    elif isinstance(value, tuple):
        for each, part in zip(value, tree, strict=True):
            yield from members(each, part)


def test_every_member_is_in_a_recording() -> None:
    found = {
        each
        for name in NAMES
        for reads, tree in values_of(name)
        for each in members(reads.decode(orjson.dumps(tree)), tree)
    }
    said = {(kind, member) for kind, member, is_said in found if is_said}
    assert {(kind, member) for kind, member, _ in found} - said == UNUSED
    payloads = {kind.__name__ for kind in get_args(Payload)}
    assert payloads - {kind for kind, _, _ in found} == {"Paged", "Sealed"}, "say here what no recording holds"


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_has_the_hash_that_it_had(name: str) -> None:
    """Or its runs are parked: no deployed code has the name that they ask for."""
    found = {(tree["name"], record.key) for record, tree in Recording(name).records() if record.topic == TOPICS.graphs}
    for case in cases_of(name):
        definition = case.graph.compile().definition
        assert (definition.name, definition.hash.encode()) in found
