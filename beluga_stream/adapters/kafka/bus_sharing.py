"""How the members of a group share the partitions of a bus: none moves before who holds it has given it up.

Each time that the group is shared out, each member tells the leader what it holds, and keeps it. What nobody holds goes
to whoever has least. A member that has too much is told how much; it gives that up once its handlers are done with it,
and has the group shared out again. So whatever stays where it is goes on all the while.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class Share(NamedTuple):
    """What a member has from now on, and how many of these it is to give up."""

    partitions: Sequence[int]
    too_many: int


class Sharing(AbstractPartitionAssignor):  # type: ignore[misc]  # it ships no types
    """A member's part in it. `held` tells what it holds of the topic, which is all that its group reads."""

    name = "beluga-bus"
    version = 0

    def __init__(self, topic: str, held: Callable[[], Iterable[int]]) -> None:
        self._topic = topic
        self._held = held
        self.told: frozenset[int] = frozenset()
        """What it has said that it holds, when the group was shared out last."""
        self.too_many = 0

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """aiokafka's: what the leader is told of this member."""
        self.told = frozenset(self._held())
        return ConsumerProtocolMemberMetadata(self.version, list(topics), orjson.dumps(sorted(self.told)))

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> Mapping[str, ConsumerProtocolMemberAssignment]:
        """aiokafka's: the leader's part."""
        holding = {member: orjson.loads(metadata.user_data) for member, metadata in members.items()}
        shares = shared(cluster.partitions_for_topic(self._topic) or (), holding)
        return {
            member: ConsumerProtocolMemberAssignment(
                self.version, [(self._topic, list(share.partitions))], orjson.dumps(share.too_many)
            )
            for member, share in shares.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """aiokafka's: what the leader has said."""
        self.too_many = orjson.loads(assignment.user_data)


def shared(partitions: Iterable[int], holding: Mapping[str, Iterable[int]]) -> Mapping[str, Share]:
    """The share of each member. In the end nobody is to have more than one partition more than another."""
    free = set(partitions)
    members = sorted(holding)
    has: dict[str, list[int]] = {}
    for member in members:
        has[member] = sorted(free.intersection(holding[member]))
        free.difference_update(has[member])
    for partition in sorted(free):
        min((has[member] for member in members), key=len).append(partition)
    fair, more = divmod(sum(map(len, has.values())), len(members))
    # Those that have most keep the odd ones.
    most_first = sorted(members, key=lambda member: -len(has[member]))
    return {
        member: Share(has[member], max(len(has[member]) - fair - (place < more), 0))
        for place, member in enumerate(most_first)
    }
