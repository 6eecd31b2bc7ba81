"""Whether the topics that exist are kept as they are declared: somebody else may have created them.

What is safer than declared, more replicas of which more must have a record, is as good as what is declared.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import TopicMismatch
from ..ports.log import TopicSpec

CLEANUP, RETENTION, INSYNC = "cleanup.policy", "retention.ms", "min.insync.replicas"
REPLICAS = "replicas"
COMPARED = (CLEANUP, RETENTION, INSYNC)
"""The settings of a topic on which a promise of the engine rests. Others are a matter of speed."""

_WHY = {
    "compact": "Kafka would delete by age what a run, a graph or a window still needs",
    "delete": "Kafka would drop a record, read or not, for a later one of its key",
}


class Deviation(NamedTuple):
    """What a topic has otherwise than declared; `key` is Kafka's name of the setting, or `REPLICAS`."""

    topic: str
    key: str
    has: str
    declared: str

    def __str__(self) -> str:
        return f"{self.topic} has {self.key}={self.has}, declared is {self.declared}"


class Conformity(NamedTuple):
    """How the topics that exist compare with their declarations. Of the `unchecked` only the replicas are known."""

    deviations: list[Deviation]
    unchecked: list[str]


def conformity(declared: Iterable[TopicSpec], found: Mapping[str, TopicSpec]) -> Conformity:
    """Compare those that exist; counts of partitions are compared elsewhere."""
    deviations: list[Deviation] = []
    unchecked: list[str] = []
    for spec in declared:
        there = found.get(spec.name)
        if there is None:
            continue
        if there.replication < spec.replication:
            deviations.append(Deviation(spec.name, REPLICAS, str(there.replication), str(spec.replication)))
        if not there.config:
            unchecked.append(spec.name)
        for key in COMPARED:
            wanted, has = spec.config.get(key), there.config.get(key)
            if wanted is not None and has is not None and _differs(key, has, wanted, there):
                deviations.append(Deviation(spec.name, key, has, wanted))
    return Conformity(deviations, unchecked)


def unsafe(own: Iterable[TopicSpec], deviations: Iterable[Deviation]) -> list[Deviation]:
    """Those by which the engine would lose what it still needs: the cleanup of its own topics."""
    names = {spec.name for spec in own}
    return [each for each in deviations if each.key == CLEANUP and each.topic in names]


def refuse_unsafe(own: Iterable[TopicSpec], deviations: Iterable[Deviation], broker: str) -> None:
    """Raises `TopicMismatch` for the first of the `unsafe`."""
    for each in unsafe(own, deviations):
        raise TopicMismatch(
            f"topic {each.topic} has {each.key}={each.has}, but must have {each.declared}, or {_WHY[each.declared]}; "
            f"this mends it: {mending(each, broker)}",
            topic=each.topic,
            actual=each.has,
            declared=each.declared,
        )


def mending(deviation: Deviation, broker: str) -> str:
    """The command of Kafka that makes a topic as declared."""
    if deviation.key == REPLICAS:
        return f"kafka-reassign-partitions.sh --bootstrap-server {broker}, to {deviation.declared} replicas"
    return (
        f"kafka-configs.sh --bootstrap-server {broker} --alter --entity-type topics --entity-name {deviation.topic} "
        f"--add-config {deviation.key}={deviation.declared}"
    )


def _differs(key: str, has: str, declared: str, there: TopicSpec) -> bool:
    if key == CLEANUP:
        return set(has.split(",")) != set(declared.split(","))
    if key == RETENTION:
        return has != declared and "delete" in there.config.get(CLEANUP, "delete")
    return int(has) < int(declared)
