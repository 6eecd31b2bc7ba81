"""Topics that somebody else created, beside what is declared."""

from dataclasses import replace

import pytest

from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.conformity import (
    Deviation,
    alike,
    conformity,
    mending,
    refuse_grown,
    refuse_unsafe,
    unsafe,
)
from beluga_stream.errors import TopicMismatch
from beluga_stream.ports.log import TopicSpec

_KEPT = {
    "cleanup.policy": "delete",
    "retention.ms": "1000",
    "min.insync.replicas": "2",
    "max.message.bytes": "1048588",
}
_COMPACTED = {"cleanup.policy": "compact", "min.insync.replicas": "2", "segment.ms": "600000"}


def _differences(spec: TopicSpec, there: TopicSpec) -> list[tuple[str, str, str]]:
    return [(each.key, each.has, each.declared) for each in conformity([spec], {spec.name: there}).deviations]


@pytest.mark.parametrize(
    ("config", "replication", "found"),
    [
        ({}, 3, []),
        ({"cleanup.policy": "compact"}, 3, [("cleanup.policy", "compact", "delete")]),
        ({"cleanup.policy": "compact,delete"}, 3, [("cleanup.policy", "compact,delete", "delete")]),
        ({"retention.ms": "-1"}, 3, [("retention.ms", "-1", "1000")]),
        ({"min.insync.replicas": "1"}, 3, [("min.insync.replicas", "1", "2")]),
        ({}, 1, [("replicas", "1", "3")]),
        ({"min.insync.replicas": "3"}, 5, []),
        ({"max.message.bytes": "100000"}, 3, [("max.message.bytes", "100000", "1048588")]),
        ({"max.message.bytes": "8000000"}, 3, []),
    ],
    ids=[
        "the same",
        "cleanup",
        "both cleanups",
        "retention",
        "in sync",
        "replicas",
        "safer",
        "short batches",
        "longer batches",
    ],
)
def test_what_a_topic_has_otherwise_than_declared(
    config: dict[str, str], replication: int, found: list[tuple[str, str, str]]
) -> None:
    assert _differences(TopicSpec("t", 4, _KEPT, 3), TopicSpec("t", 4, _KEPT | config, replication)) == found


def test_a_compacted_topic_may_have_any_retention_and_segments() -> None:
    there = TopicSpec("t", 4, _COMPACTED | {"retention.ms": "1", "segment.ms": "1"})
    assert _differences(TopicSpec("t", 4, _COMPACTED | {"retention.ms": "1000"}), there) == []


def test_what_the_broker_does_not_tell_is_not_taken_for_good() -> None:
    specs = [TopicSpec("told", 1, _KEPT), TopicSpec("untold", 1, _KEPT), TopicSpec("absent", 1, _KEPT)]
    found = {"told": specs[0], "untold": TopicSpec("untold", 1)}
    assert conformity(specs, found) == ([], ["untold"])


def test_a_table_of_the_engine_that_is_not_compacted_is_refused_with_the_command() -> None:
    own, theirs = TopicSpec("changelog", 1, _COMPACTED), TopicSpec("orders", 1, _COMPACTED)
    found = {name: TopicSpec(name, 1, _KEPT) for name in ("changelog", "orders")}
    deviations = conformity([own, theirs], found).deviations
    assert [each.topic for each in deviations] == ["changelog", "orders"]
    assert [each.topic for each in unsafe([own], deviations)] == ["changelog"]
    with pytest.raises(TopicMismatch) as refused:
        refuse_unsafe([own], deviations, "kafka:9092")
    assert str(refused.value) == (
        "topic changelog: cleanup.policy is delete and must be compact, or Kafka would delete by age what a run, a "
        "graph or a window still needs; this mends it: kafka-configs.sh --bootstrap-server kafka:9092 --alter "
        "--entity-type topics --entity-name changelog --add-config cleanup.policy=compact"
    )
    refuse_unsafe([], deviations, "kafka:9092")


@pytest.mark.parametrize(
    ("has", "refused"),
    [("compact", False), ("delete,compact", False), ("delete", True)],
    ids=["for ever", "so", "events"],
)
def test_summaries_with_a_retention_may_be_kept_for_ever_and_must_be_compacted(has: str, *, refused: bool) -> None:
    (runs,) = (spec for spec in Topics().specs([], runs_retention_ms=1000) if spec.name == "beluga.runs")
    deviations = conformity(
        [runs], {runs.name: replace(runs, config={**runs.config, "cleanup.policy": has})}
    ).deviations
    if refused:
        with pytest.raises(
            TopicMismatch, match=r"must be compact,delete, or Kafka would delete by age .*=\[compact,delete\]$"
        ):
            refuse_unsafe([runs], deviations, "kafka:9092")
    else:
        refuse_unsafe([runs], deviations, "kafka:9092")


def test_replicas_are_no_setting_of_a_topic() -> None:
    (kind,) = alike([Deviation("t", "replicas", "1", "3")])
    assert mending(kind, "kafka:9092").startswith("kafka-reassign-partitions.sh")


def test_what_many_topics_have_alike_is_told_and_mended_once() -> None:
    """As those of an engine from before `min.insync.replicas` was set."""
    both, other = alike(
        [
            Deviation("a", "min.insync.replicas", "1", "2"),
            Deviation("b", "retention.ms", "1", "2"),
            Deviation("c", "min.insync.replicas", "1", "2"),
        ]
    )
    assert str(both) == "min.insync.replicas is 1 and not 2: a, c"
    assert mending(both, "kafka:9092") == (
        "for topic in a c; do kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics "
        "--entity-name $topic --add-config min.insync.replicas=2; done"
    )
    assert other.topics == ["b"]


def _found(own: list[TopicSpec], **partitions: int) -> dict[str, TopicSpec]:
    return {spec.name: replace(spec, partitions=partitions.get(spec.name[2:], spec.partitions)) for spec in own}


def test_a_topic_of_the_engine_that_somebody_gave_more_partitions_is_refused() -> None:
    """That `declare 6` would be no help is what the message has to say: the others have four."""
    names = Topics("b", 4)
    own = names.specs(["default"])
    with pytest.raises(
        TopicMismatch, match=r"topic b\.runs has 6 partitions, and the others .* have 4: .*BELUGA_PREFIX"
    ):
        refuse_grown(names, own, _found(own, runs=6))
    with pytest.raises(TopicMismatch, match=r"topic b\.runs, b\.bus has 6"):
        refuse_grown(names, own, _found(own, runs=6, bus=6))


@pytest.mark.parametrize("others", [4, 2, 8])
def test_where_all_have_another_number_or_the_same_nobody_has_added_any(others: int) -> None:
    names = Topics("b", 4)
    own = names.specs(["default"])
    found = _found(Topics("b", others).specs(["default"]))
    refuse_grown(names, own, found)
    refuse_grown(names, own, {})
