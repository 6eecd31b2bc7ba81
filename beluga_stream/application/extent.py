"""How far the partitions of a topic go, asked for once by whoever takes over several of them."""

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import TopicMismatch
from ..ports.log import Reader


class Extent(NamedTuple):
    """For each partition the offset of its first record, and the one after its last, when it was asked."""

    topic: str
    begins: Mapping[int, int]
    ends: Mapping[int, int]


async def extent_of(reader: Reader, topic: str) -> Extent:
    """Ask the broker."""
    return Extent(topic, await reader.beginning(topic), await reader.end(topic))


async def check_not_recreated(reader: Reader, extent: Extent, number: int, committed: int) -> None:
    """Raises `TopicMismatch` when the group has read further than the topic goes: it is another topic now.

    Its former owner may have read on since the extent was asked for: in doubt it is asked for again.
    """
    if committed <= extent.ends[number]:
        return
    end = (await reader.end(extent.topic))[number]
    if committed > end:
        raise TopicMismatch(
            f"topic {extent.topic} was deleted and created again: partition {number} ends at {end}, and the "
            f"coordinators have read it up to {committed}. Its runs and the changelog belong to the old one: "
            f"choose another BELUGA_PREFIX, or delete the engine's topics and consumer groups together",
            topic=extent.topic,
            partition=number,
        )
