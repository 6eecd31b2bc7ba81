"""Whether the topics that exist are kept as they are declared: somebody else may have created them.

What is safer than declared, more replicas of which more must have a record, is as good as what is declared.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..application.topics import Topics
from ..errors import TopicMismatch
from ..ports.log import TopicSpec

CLEANUP, RETENTION, INSYNC = "cleanup.policy", "retention.ms", "min.insync.replicas"
REPLICAS = "replicas"
LARGEST = "max.message.bytes"
COMPARED = (CLEANUP, RETENTION, INSYNC, LARGEST)
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


class Alike(NamedTuple):
    """Topics that have the same otherwise than declared: often all of them, and told of once."""

    topics: list[str]
    key: str
    has: str
    declared: str

    def __str__(self) -> str:
        return f"{self.key} is {self.has} and not {self.declared}: {', '.join(self.topics)}"


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
    """Those by which the engine would lose what it still needs: the cleanup of its own topics.

    To keep for ever what may be deleted is none.
    """
    names = {spec.name for spec in own}
    return [
        each
        for each in deviations
        if each.key == CLEANUP and each.topic in names and (each.has, each.declared) != ("compact", "compact,delete")
    ]


def refuse_unsafe(own: Iterable[TopicSpec], deviations: Iterable[Deviation], broker: str) -> None:
    """Raises `TopicMismatch` for what is `unsafe`."""
    for kind in alike(unsafe(own, deviations)):
        named = ", ".join(kind.topics)
        why = _WHY[kind.declared.partition(",")[0]]
        raise TopicMismatch(
            f"topic {named}: {kind.key} is {kind.has} and must be {kind.declared}, or {why}; "
            f"this mends it: {mending(kind, broker)}",
            topic=named,
            actual=kind.has,
            declared=kind.declared,
        )


def alike(deviations: Iterable[Deviation]) -> list[Alike]:
    """Put those together that are of the same kind."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for each in deviations:
        found.setdefault((each.key, each.has, each.declared), []).append(each.topic)
    return [Alike(topics, *kind) for kind, topics in found.items()]


def mending(deviations: Alike, broker: str) -> str:
    """The command of Kafka that makes these topics as declared."""
    topics, key, _, declared = deviations
    if key == REPLICAS:
        return f"kafka-reassign-partitions.sh --bootstrap-server {broker}, to {declared} replicas"
    one = len(topics) == 1
    value = f"[{declared}]" if "," in declared else declared
    command = (
        f"kafka-configs.sh --bootstrap-server {broker} --alter --entity-type topics "
        f"--entity-name {topics[0] if one else '$topic'} --add-config {key}={value}"
    )
    return command if one else f"for topic in {' '.join(topics)}; do {command}; done"


def _differs(key: str, has: str, declared: str, there: TopicSpec) -> bool:
    if key == CLEANUP:
        return set(has.split(",")) != set(declared.split(","))
    if key == RETENTION:
        return has != declared and "delete" in there.config.get(CLEANUP, "delete")
    return int(has) < int(declared)


def refuse_grown(names: Topics, own: Iterable[TopicSpec], found: Mapping[str, TopicSpec]) -> None:
    """Raises `TopicMismatch` when some of the engine's topics have got more partitions than its others.

    If all of them have another number, the settings are wrong, and not the topics.
    """
    keyed = [spec for spec in own if spec.name in found and spec.name not in (names.graphs, names.control)]
    grown = [spec.name for spec in keyed if found[spec.name].partitions > spec.partitions]
    if 0 < len(grown) < len(keyed):
        count = found[grown[0]].partitions
        raise TopicMismatch(
            f"topic {', '.join(grown)} has {count} partitions, and the others of this engine have {names.partitions}: "
            f"somebody has added partitions to it, and Kafka takes none away. Records find their run by one number for "
            f"all: begin another engine under another BELUGA_PREFIX; docs/operating.md says how",
            topic=grown[0],
            actual=count,
            declared=names.partitions,
        )
