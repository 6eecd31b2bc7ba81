"""Who gets which partition: number p of every topic of a role goes to one and the same member.

Faust co-assigns only what its own table metadata knows, and its round robin spreads (topic, p) over
members. A run's records lie in partition p of several topics, and one owner must see them all.
"""

import json
import logging
from collections.abc import Iterable, Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

log = logging.getLogger(__name__)

_VERSION = 0


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

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called in the one member that the broker picked."""
        counts = self._counts(cluster, {topic for m in members.values() for topic in m.subscription})
        knowing_all = [name for name, member in members.items() if set(counts) <= set(member.subscription)]
        candidates = sorted(knowing_all or members)
        if len(candidates) < len(members):
            log.warning(
                "members of the group consume different topics: %d of %d get none until all are the same",
                len(members) - len(candidates),
                len(members),
                extra={"action": "group.uneven"},
            )
        owners = self._owners(range(max(counts.values(), default=0)), candidates, members)
        given: dict[str, dict[str, list[int]]] = {name: {} for name in members}
        for number, name in owners.items():
            for topic in members[name].subscription:
                if number < counts.get(topic, 0):
                    given[name].setdefault(topic, []).append(number)
        return {
            name: ConsumerProtocolMemberAssignment(_VERSION, sorted(topics.items()), b"")
            for name, topics in given.items()
        }

    @staticmethod
    def _counts(cluster: ClusterMetadata, topics: Iterable[str]) -> dict[str, int]:
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        for topic, count in counts.items():
            if count == 0:
                log.error("topic %s does not exist: nobody consumes it", topic, extra={"action": "group.no_topic"})
        return {topic: count for topic, count in counts.items() if count}

    @staticmethod
    def _owners(
        numbers: range, candidates: list[str], members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[int, str]:
        most, extra = divmod(len(numbers), len(candidates))
        room = dict.fromkeys(candidates, most)
        owners: dict[int, str] = {}
        spare = extra
        for name in candidates:
            for number in _claimed(members[name]):
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
                name = max(candidates, key=lambda candidate: room[candidate])
                room[name] -= 1
                owners[number] = name
        return dict(sorted(owners.items()))


def _claimed(member: ConsumerProtocolMemberMetadata) -> list[int]:
    try:
        claimed = json.loads(member.user_data or b"[]")
    except ValueError:
        return []
    return [number for number in claimed if isinstance(number, int)] if isinstance(claimed, list) else []
