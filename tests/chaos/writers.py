"""Who wrote a partition, in the order of the log: producer id and epoch of every record batch.

A coordinator's successor gets a higher epoch for the same id. So a write of the predecessor behind it
shows as an epoch that goes down, whatever the record says. Consumers are not told the epoch: the
headers of the batches are, in the answer to a fetch.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import for_code
from aiokafka.protocol.fetch import FetchRequest

_MAX_BYTES = 8 << 20
_HEADER = struct.Struct(">qiibIhiqqqh")
"""Base offset, length, leader epoch, magic, checksum, attributes, last delta, two times, producer, epoch."""
_BEFORE_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Written:
    """One record batch."""

    offset: int
    next_offset: int
    producer: int
    epoch: int


async def writers(broker: str, topic: str, partition: int) -> list[Written]:
    """Every batch that the partition still has."""
    target = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker)
    await consumer.start()
    try:
        position = (await consumer.beginning_offsets([target]))[target]
        end = (await consumer.end_offsets([target]))[target]
        leader = consumer._client.cluster.leader_for_partition(target)
        found: list[Written] = []
        while position < end:
            wanted = [(topic, [(partition, position, _MAX_BYTES)])]
            response: Any = await consumer._client.send(leader, FetchRequest(500, 1, _MAX_BYTES, 0, wanted))
            answer = response.topics[0][1][0]
            error = for_code(answer[1])
            if error.errno != 0:
                raise error
            batches = list(_batches(answer[-1]))
            found += batches
            position = batches[-1].next_offset
        return found
    finally:
        await consumer.stop()


def _batches(data: bytes) -> Iterator[Written]:
    """The batches of an answer; the last one may be cut off, and then comes with the next answer."""
    at = 0
    while at + _HEADER.size <= len(data):
        offset, length, _, _, _, _, delta, _, _, producer, epoch = _HEADER.unpack_from(data, at)
        at += _BEFORE_LENGTH + length
        if at <= len(data):
            yield Written(offset, offset + delta + 1, producer, epoch)


def overtaken(batches: Iterable[Written]) -> list[str]:
    """The batches of a writer behind those of one that had replaced it."""
    wrong: list[str] = []
    newest: dict[int, int] = {}
    for batch in batches:
        known = newest.get(batch.producer, batch.epoch)
        if batch.epoch < known:
            wrong.append(f"offset {batch.offset}: epoch {batch.epoch} after {known}")
        newest[batch.producer] = max(batch.epoch, known)
    return wrong
