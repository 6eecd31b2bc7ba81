"""What a fetch has brought of one partition, until it has been consumed.

aiokafka asks several objects of its own for each record; of a lone one that is most of the work.
"""

# ruff: noqa: SLF001 - it looks at what aiokafka knows of a partition (contract test: test_kafka_internals)

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from .names import batch_at, with_any_names

Record: TypeAlias = "ConsumerRecord[bytes, bytes]"


class Fetched:
    """Records of one partition from its position on, read as they are taken.

    `state` is aiokafka's, of the partition under one assignment; the `batches` are as they lay on the wire. `backoff`
    is for how many seconds this may wait to be taken before its broker is asked for others nevertheless. Records of
    `aborted` transactions (producer and first offset of each) are passed over.
    """

    __slots__ = ("_position", "_records", "_state", "_until")

    def __init__(
        self,
        target: TopicPartition,
        state: Any,
        batches: bytes,
        *,
        backoff: float,
        check_crcs: bool,
        aborted: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._state = state
        self._position: int = state._position
        void = _Aborted(aborted) if aborted else None
        self._records: Iterator[Record] | None = self._read(target, batches, void, check_crcs=check_crcs)
        self._until = time.monotonic() + backoff

    def calculate_backoff(self) -> float:
        """Seconds that its broker is still to be left alone; named as aiokafka names it."""
        return max(self._until - time.monotonic(), 0.0)

    @property
    def position(self) -> int:
        """The offset up to which it was taken, or passed over for having no record."""
        return self._position

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing left to take."""
        return self._records is None

    def take(self, most: int | None) -> list[Record]:
        """The next records, `most` of them at most; the position moves behind them.

        Nothing when they are not wanted any more: the partition has been given up, paused, or sought elsewhere. Raises
        `CorruptRecordException` for a damaged batch, and what aiokafka does for one that it cannot read; what comes
        before it is brought first. Either way the batch is fetched again.
        """
        state = self._state
        given_up = state._assignment.unassign_future.done()
        if given_up or state._paused or state._position != self._position or self._records is None:
            self._records = None
            return []
        found: list[Record] = []
        try:
            for record in self._records:
                found.append(record)
                if len(found) == most:
                    break
            else:
                self._records = None
        except Exception:
            self._records = None
            if not found:
                raise
        state.consumed_to(self._position)
        return found

    def _read(
        self, target: TopicPartition, brought: bytes, void: "_Aborted | None", *, check_crcs: bool
    ) -> Iterator[Record]:
        topic, number = target
        batches = MemoryRecords(brought)
        while (batch := batches.next_batch()) is not None:
            if check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"a batch of {topic}/{number} from {self._position} on is damaged")
            skipped = batch.is_control_batch if void is None else void.passes(batch)
            records = () if skipped else batch
            while records is not None:
                try:
                    for record in records:
                        offset = record.offset
                        if offset < self._position:
                            continue  # a batch may begin before what was asked for
                        key, value = record.key, record.value
                        self._position = offset + 1
                        yield ConsumerRecord(
                            topic,
                            number,
                            offset,
                            record.timestamp,
                            record.timestamp_type,
                            key,
                            value,
                            record.checksum,
                            -1 if key is None else len(key),
                            -1 if value is None else len(value),
                            tuple(record.headers),
                        )
                    records = None
                except UnicodeDecodeError:
                    # The name of a header: to a broker it is any bytes. What came before it is passed over.
                    records = with_any_names(batch_at(brought, batch.base_offset))
            # The last of a batch may have been compacted away.
            self._position = batch.next_offset


class _Aborted:
    """Transactions that were aborted, gone through in the order of the log."""

    def __init__(self, transactions: Sequence[tuple[int, int]]) -> None:
        self._to_come = sorted(((first, producer) for producer, first in transactions), reverse=True)
        self._open: set[int] = set()
        """The producers whose transaction here will be aborted."""

    def passes(self, batch: Any) -> bool:
        """Whether this batch, the next one, has no record to show: it is of such a transaction, or the end of any."""
        while self._to_come and self._to_come[-1][0] < batch.next_offset:
            self._open.add(self._to_come.pop()[1])
        if batch.is_control_batch:
            self._open.discard(batch.producer_id)
            return True
        return batch.producer_id in self._open and bool(batch.is_transactional)
