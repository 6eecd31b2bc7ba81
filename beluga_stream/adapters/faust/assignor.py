"""Who gets which partition: by number, the same of every topic of a role; or topic by topic, for workers.

Faust co-assigns only what its own table metadata knows, and its round robin spreads (topic, p) over
members. A run's records lie in partition p of several topics, and one owner must see them all. Workers own nothing:
each may read other queues, and any of those that read a queue may run its nodes.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

log = logging.getLogger(__name__)

_VERSION = 0

Members = Mapping[str, ConsumerProtocolMemberMetadata]


class NumberAssignor(AbstractPartitionAssignor):
    """Assigns partition numbers, evenly, leaving with each member what it had.

    In a rolling deploy that changes the topics only members that know all of them are candidates, if
    there is one: a number must not be split between two owners.
    """

    name = "beluga-number"

    def __init__(self) -> None:
        self._owned: frozenset[int] = frozenset()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this member tells the one that assigns: its topics and the numbers it owns now."""
        return ConsumerProtocolMemberMetadata(_VERSION, sorted(topics), json.dumps(sorted(self._owned)).encode())

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what was assigned, to claim it again next time."""
        self._owned = frozenset(p for _, partitions in assignment.assignment for p in partitions)

    def assign(self, cluster: ClusterMetadata, members: Members) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called in the one member that the broker picked."""
        counts = _counts(cluster, members)
        knowing_all = [name for name, member in members.items() if set(counts) <= set(member.subscription)]
        candidates = sorted(knowing_all or members)
        if len(candidates) < len(members):
            log.warning(
                "members of the group consume different topics: %d of %d get none until all are the same",
                len(members) - len(candidates),
                len(members),
                extra={"action": "group.uneven"},
            )
        claims = {name: _numbers(_claimed(members[name])) for name in candidates}
        owners = _owners(range(max(counts.values(), default=0)), claims)
        given: dict[str, dict[str, list[int]]] = {name: {} for name in members}
        for number, name in owners.items():
            for topic in members[name].subscription:
                if number < counts.get(topic, 0):
                    given[name].setdefault(topic, []).append(number)
        return _told(given)


class TopicAssignor(AbstractPartitionAssignor):
    """Assigns each topic's partitions among those who read it, evenly, leaving with each member what it had.

    Its name is the other's: a group of workers may have members of a version before it, who assigned by number.
    """

    name = NumberAssignor.name

    def __init__(self) -> None:
        self._owned: Mapping[str, list[int]] = {}

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this member tells the one that assigns: its topics and what it owns of each now."""
        return ConsumerProtocolMemberMetadata(_VERSION, sorted(topics), json.dumps(self._owned).encode())

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what was assigned, to claim it again next time."""
        self._owned = {topic: sorted(numbers) for topic, numbers in assignment.assignment}

    def assign(self, cluster: ClusterMetadata, members: Members) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called in the one member that the broker picked."""
        given: dict[str, dict[str, list[int]]] = {name: {} for name in members}
        load = dict.fromkeys(members, 0)
        for topic, count in sorted(_counts(cluster, members).items()):
            # Who has least so far is the first to get one more, where the topic cannot be spread evenly.
            readers = sorted((load[name], name) for name, each in members.items() if topic in each.subscription)
            claims = {name: _of_topic(_claimed(members[name]), topic) for _, name in readers}
            for number, name in _owners(range(count), claims).items():
                given[name].setdefault(topic, []).append(number)
                load[name] += 1
        return _told(given)


def _counts(cluster: ClusterMetadata, members: Members) -> dict[str, int]:
    """How many partitions each topic has that somebody reads."""
    topics = {topic for member in members.values() for topic in member.subscription}
    counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
    for topic, count in counts.items():
        if count == 0:
            told = "topic %s does not exist, and nobody consumes it until it does: `beluga topics apply` creates it"
            log.error(told, topic, extra={"action": "group.no_topic"})
    return {topic: count for topic, count in counts.items() if count}


def _owners(numbers: range, claims: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """An owner for each number, of the candidates and what they claim. What is left over goes to the first of them."""
    most, spare = divmod(len(numbers), len(claims))
    room = dict.fromkeys(claims, most)
    owners: dict[int, str] = {}
    for name, claimed in claims.items():
        for number in claimed:
            if number not in numbers or number in owners:
                continue
            if room[name] > 0:
                room[name] -= 1
            elif room[name] == 0 and spare > 0:
                spare -= 1
                room[name] = -1
            else:
                continue
            owners[number] = name
    for number in numbers:
        if number not in owners:
            name = max(claims, key=lambda candidate: room[candidate])
            room[name] -= 1
            owners[number] = name
    return dict(sorted(owners.items()))


def _told(given: Mapping[str, Mapping[str, list[int]]]) -> dict[str, ConsumerProtocolMemberAssignment]:
    return {
        name: ConsumerProtocolMemberAssignment(_VERSION, sorted(topics.items()), b"") for name, topics in given.items()
    }


def _claimed(member: ConsumerProtocolMemberMetadata) -> object:
    try:
        return json.loads(member.user_data or b"[]")
    except ValueError:
        return []


def _of_topic(claimed: object, topic: str) -> list[int]:
    return _numbers(claimed.get(topic) if isinstance(claimed, dict) else claimed)


def _numbers(claimed: object) -> list[int]:
    return [number for number in claimed if isinstance(number, int)] if isinstance(claimed, list) else []
