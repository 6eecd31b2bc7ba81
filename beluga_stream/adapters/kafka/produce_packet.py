"""Produce as it lies on the wire, version 7 (kafka.apache.org/protocol)."""

# ruff: noqa: SLF001 - a request of aiokafka shows none of what it holds (contract test: test_packets)

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import ClassVar, Self, TypeAlias

from aiokafka.protocol.produce import ProduceRequest

from .packet import COUNT, HEADER_BYTES, Packet, Versions, check_end, text, topic_at

_FIXED = Struct(">hhii")
"""transactional id (none), acks, timeout_ms, number of topics."""
_BATCH = Struct(">ii")
"""partition, bytes of records."""
_PLACED = Struct(">ihqqq")
"""partition, error, offset, time of appending, log start."""

_NO_TRANSACTION = -1

Placed: TypeAlias = tuple[int, int, int, int, int]
"""What `_PLACED` names."""


class ProduceAnswer:
    """What a broker says to a produce: named as aiokafka names it."""

    API_VERSION: ClassVar = 7

    __slots__ = ("topics",)

    def __init__(self, topics: list[tuple[str, list[Placed]]]) -> None:
        self.topics = topics


class ProducePacket(Packet):
    """Batches for partitions, outside any transaction, that are answered."""

    API_KEY = 0
    VERSION = 7

    __slots__ = ("_acks", "_timeout_ms", "_topics")

    def __init__(self, acks: int, timeout_ms: int, topics: Mapping[str, Sequence[tuple[int, bytes]]]) -> None:
        self._acks = acks
        self._timeout_ms = timeout_ms
        self._topics = topics

    @classmethod
    def of(cls, request: ProduceRequest, versions: Versions) -> Self | None:
        """Aiokafka's request; None when it or the broker is not what this is for."""
        if request._transactional_id is not None or request._required_acks == 0 or not cls.fits(versions):
            return None
        return cls(request._required_acks, request._timeout, dict(request._topics))

    @property
    def targets(self) -> list[tuple[str, int]]:
        """The partitions that it has batches for."""
        return [(topic, partition) for topic, batches in self._topics.items() for partition, _ in batches]

    @property
    def size(self) -> int:
        """Bytes of all batches."""
        return sum(len(records) for batches in self._topics.values() for _, records in batches)

    def joined(self, others: Iterable[Self]) -> Self:
        """This and the others, which have batches for other partitions, as one."""
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for packet in (self, *others):
            for topic, batches in packet._topics.items():
                topics.setdefault(topic, []).extend(batches)
        return type(self)(self._acks, self._timeout_ms, topics)

    def body(self) -> bytes:
        parts = [_FIXED.pack(_NO_TRANSACTION, self._acks, self._timeout_ms, len(self._topics))]
        for topic, batches in self._topics.items():
            parts += (text(topic), COUNT.pack(len(batches)))
            for partition, records in batches:
                parts += (_BATCH.pack(partition, len(records)), records)
        return b"".join(parts)

    def answer(self, frame: bytes) -> ProduceAnswer:
        (count,) = COUNT.unpack_from(frame, HEADER_BYTES)
        at = HEADER_BYTES + COUNT.size
        topics: list[tuple[str, list[Placed]]] = []
        for _ in range(count):
            name, partitions, at = topic_at(frame, at)
            end = at + partitions * _PLACED.size
            topics.append((name, list(_PLACED.iter_unpack(frame[at:end]))))
            at = end
        check_end(frame, at + COUNT.size)  # throttle_ms
        return ProduceAnswer(topics)
