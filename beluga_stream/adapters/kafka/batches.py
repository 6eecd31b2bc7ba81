"""Record batches: many records out with one future for each (topic, partition).

`producer.send()` costs one future per record; `create_batch`/`send_batch` cost one per batch
and keep the key of every record, which is what makes the engine's batches cheap.
"""

import asyncio
import time
from asyncio import Future
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from ...application.partitioner import partition_of
from ...errors import RecordTooLarge
from ...ports.log import Outgoing, Position
from .producer import PatientProducer

MAX_RECORD_BYTES = 1_000_000
"""Below the broker's default limit for a whole batch (1,048,588 bytes), with room for its header."""

_RECORD_OVERHEAD = 64

Outcome: TypeAlias = Position | KafkaError
_Sent: TypeAlias = tuple["Future[RecordMetadata]", int]
"""A batch on its way, and how many records it has."""
_UNSENT = KafkaError("not sent")
_new = tuple.__new__
"""Without the call between it and a named tuple: there is a position for every record."""


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


async def send_batches(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[Outcome]:
    """As `begin`, and wait for what comes of it."""
    return await begin(producer, records)


def begin(producer: AIOKafkaProducer, records: Sequence[Outgoing], *, now: bool = False) -> "Future[list[Outcome]]":
    """Send all, in order within a partition; the future says for each where it lies or why it failed.

    Every record must name its partition (`placed`). Retries for ever on errors that may pass: the caller
    bounds the wait. Of two calls for one partition, of which the first is not answered, the second may be first in the
    log. `now`: see `PatientProducer.hand_over`.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for index, record in enumerate(records):
        assert record.partition is not None
        groups.setdefault((record.topic, record.partition), []).append(index)
    if isinstance(producer, PatientProducer):
        batches = _in_one_each(producer, records, groups)
        if batches is not None:
            together = _Together(len(records), groups)
            if producer.hand_over(batches, together.told, now=now):
                return together.outcomes
    return asyncio.ensure_future(_one_after_the_other(producer, records, groups))


def _in_one_each(
    producer: PatientProducer, records: Sequence[Outgoing], groups: Mapping[tuple[str, int], Sequence[int]]
) -> list[tuple[TopicPartition, BatchBuilder]] | None:
    """A batch for each partition; None when one of them takes several."""
    now = int(time.time() * 1000)
    batches: list[tuple[TopicPartition, BatchBuilder]] = []
    for target, indexes in groups.items():
        batch = producer.create_batch()
        for index in indexes:
            if not _added(batch, records[index], now):
                return None
        batches.append((TopicPartition(*target), batch))
    return batches


def positions_of(outcomes: Sequence[Outcome]) -> Sequence[Position]:
    """All positions. Raises the first of the errors."""
    positions = [outcome for outcome in outcomes if type(outcome) is Position]
    if len(positions) < len(outcomes):
        raise next(outcome for outcome in outcomes if isinstance(outcome, KafkaError))
    return positions


class _Together:
    """Batches that are on their way at the same time, one for each partition."""

    def __init__(self, count: int, groups: Mapping[tuple[str, int], Sequence[int]]) -> None:
        self.outcomes: Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._groups = list(groups.items())
        self._known: list[Outcome] = [_UNSENT] * count
        self._left = len(groups)
        if not groups:
            self.outcomes.set_result([])

    def told(self, place: int, offset: int | KafkaError) -> None:
        """What came of one of them."""
        (topic, partition), indexes = self._groups[place]
        known = self._known
        if isinstance(offset, KafkaError):
            for index in indexes:
                known[index] = offset
        else:
            for lies, index in enumerate(indexes, offset):
                known[index] = _new(Position, (topic, partition, lies))
        self._left -= 1
        if self._left == 0 and not self.outcomes.done():
            self.outcomes.set_result(self._known)


async def _one_after_the_other(
    producer: AIOKafkaProducer, records: Sequence[Outgoing], groups: Mapping[tuple[str, int], Sequence[int]]
) -> list[Outcome]:
    """Handing a batch over waits where one of its partition is there already."""
    outcomes: list[Outcome] = [_UNSENT] * len(records)
    sending: list[tuple[tuple[str, int], Sequence[int], list[_Sent]]] = []
    for target, indexes in groups.items():
        try:
            sending.append((target, indexes, await _enqueue(producer, target, [records[index] for index in indexes])))
        except KafkaError as error:
            for index in indexes:
                outcomes[index] = error
    for target, indexes, batches in sending:
        await _await_group(target, indexes, batches, outcomes)
    return outcomes


async def placed(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[Outgoing]:
    """These records, each with its partition. Raises what aiokafka raises for an unknown topic."""
    counts: dict[str, int] = {}
    found: list[Outgoing] = []
    for record in records:
        if record.partition is not None:
            found.append(record)
            continue
        if record.topic not in counts:
            counts[record.topic] = len(await producer.partitions_for(record.topic))
        partition = _choose(record, counts[record.topic])
        found.append(Outgoing(record.topic, record.key, record.value, record.headers, partition))
    return found


def _choose(record: Outgoing, partitions: int) -> int:
    if record.key is None:
        # Nothing depends on where a record without a key goes; time spreads them.
        return time.monotonic_ns() // 1_000_000 % partitions
    return partition_of(record.key, partitions)


async def _await_group(
    target: tuple[str, int], indexes: Sequence[int], batches: Sequence[_Sent], outcomes: list[Outcome]
) -> None:
    topic, partition = target
    done = 0
    try:
        for future, count in batches:
            base = (await future).offset
            for place in range(count):
                outcomes[indexes[done + place]] = Position(topic, partition, base + place)
            done += count
    except KafkaError as error:
        for index in indexes[done:]:
            outcomes[index] = error


async def _enqueue(producer: AIOKafkaProducer, target: tuple[str, int], records: Sequence[Outgoing]) -> list[_Sent]:
    now = int(time.time() * 1000)
    sent: list[_Sent] = []
    batch = producer.create_batch()
    for record in records:
        if not _added(batch, record, now):
            # Full: this one opens the next batch. send_batch waits until the former is under way.
            count = batch.record_count()
            sent.append((await _on_its_way(producer, batch, target), count))
            batch = producer.create_batch()
            _added(batch, record, now)
    count = batch.record_count()
    sent.append((await _on_its_way(producer, batch, target), count))
    return sent


def _added(batch: BatchBuilder, record: Outgoing, now_ms: int) -> bool:
    # aiokafka's compiled builder takes headers as a list and nothing else.
    headers = list(record.headers)
    return batch.append(timestamp=now_ms, key=record.key, value=record.value, headers=headers) is not None


async def _on_its_way(producer: AIOKafkaProducer, batch: Any, target: tuple[str, int]) -> "Future[RecordMetadata]":
    topic, partition = target
    future: Future[RecordMetadata] = await producer.send_batch(batch, topic, partition=partition)
    future.add_done_callback(_seen)
    return future


def _seen(sent: "Future[RecordMetadata]") -> None:
    """Whoever gave up waiting for a batch does not hear of its failure, and need not."""
    if not sent.cancelled():
        sent.exception()
