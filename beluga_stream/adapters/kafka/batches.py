"""Record batches: many records out with one future for each (topic, partition).

`producer.send()` costs one future per record; `create_batch`/`send_batch` cost one per batch
and keep the key of every record, which is what makes the engine's batches cheap.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from beluga_stream.errors import RecordTooLarge
from beluga_stream.ports.log import Outgoing, Position

MAX_RECORD_BYTES = 1_000_000
"""Below the broker's default limit for a whole batch (1,048,588 bytes), with room for its header."""

_RECORD_OVERHEAD = 64


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives this key.

    Cached, since aiokafka's murmur2 is pure Python and a run writes its id many times.
    """
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def size_of(record: Outgoing) -> int:
    """Upper bound of the record's bytes on the wire."""
    size = _RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"") + 10
    return size


def check_sizes(records: Sequence[Outgoing], limit: int) -> None:
    """Raise `RecordTooLarge` when one of them is above `limit` bytes."""
    for record in records:
        size = size_of(record)
        if size > limit:
            key = record.key.decode(errors="replace") if record.key else None
            raise RecordTooLarge(
                f"a record of {size} bytes for topic {record.topic} is above the limit of {limit} bytes",
                topic=record.topic,
                key=key,
            )


async def send_batches(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[Position]:
    """Send all, in order within a partition; return their positions when every one is durable.

    Raises what aiokafka raises. Retries for ever on errors that may pass: the caller bounds the wait.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    counts: dict[str, int] = {}
    for index, record in enumerate(records):
        partition = record.partition
        if partition is None:
            if record.topic not in counts:
                counts[record.topic] = len(await producer.partitions_for(record.topic))
            partition = _choose(record, counts[record.topic])
        groups.setdefault((record.topic, partition), []).append(index)
    positions: list[Position | None] = [None] * len(records)
    sending = [
        _send_group(producer, target, indexes, records, positions) for target, indexes in groups.items()
    ]
    if len(sending) == 1:
        await sending[0]
    else:
        await asyncio.gather(*sending)
    return [position for position in positions if position is not None]


def _choose(record: Outgoing, partitions: int) -> int:
    if record.key is None:
        # Nothing depends on where a record without a key goes; time spreads them.
        return time.monotonic_ns() // 1_000_000 % partitions
    return partition_of(record.key, partitions)


async def _send_group(
    producer: AIOKafkaProducer,
    target: tuple[str, int],
    indexes: Sequence[int],
    records: Sequence[Outgoing],
    positions: list[Position | None],
) -> None:
    topic, partition = target
    now = int(time.time() * 1000)
    sent: list[tuple[int, int, asyncio.Future[object]]] = []
    batch = producer.create_batch()
    first = 0
    for place, index in enumerate(indexes):
        record = records[index]
        # aiokafka's compiled builder takes headers as a list and nothing else.
        headers = list(record.headers)
        if batch.append(timestamp=now, key=record.key, value=record.value, headers=headers) is None:
            # Full: this one opens the next batch. send_batch waits until the former is under way.
            sent.append((first, place, await producer.send_batch(batch, topic, partition=partition)))
            first = place
            batch = producer.create_batch()
            batch.append(timestamp=now, key=record.key, value=record.value, headers=headers)
    sent.append((first, len(indexes), await producer.send_batch(batch, topic, partition=partition)))
    for start, end, future in sent:
        base = (await future).offset  # type: ignore[attr-defined]
        for place in range(start, end):
            positions[indexes[place]] = Position(topic, partition, base + place - start)
