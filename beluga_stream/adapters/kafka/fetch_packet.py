"""Fetch as it lies on the wire, version 11 (kafka.apache.org/protocol)."""

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import ClassVar, NamedTuple, TypeAlias

from .packet import COUNT, HEADER_BYTES, Packet, check_end, text, topic_at

_FIXED = Struct(">iiiibiii")
"""replica, max_wait_ms, min_bytes, max_bytes, isolation, session, epoch, number of topics."""
_ASKED = Struct(">iiqqi")
"""partition, leader epoch, offset, log start, max_bytes."""
_HEAD = Struct(">ihii")
"""throttle_ms, error, session, number of topics."""
_FOUND = Struct(">ihqqqi")
"""partition, error, high watermark, last stable offset, log start, number of aborted transactions."""
_ABORTED = Struct(">qq")
"""producer, first offset."""
_RECORDS = Struct(">ii")
"""preferred replica, bytes of records."""

_NO_REPLICA = _UNKNOWN = -1

Asked: TypeAlias = tuple[int, int, int]
"""partition, offset, max_bytes."""

Found: TypeAlias = tuple[int, int, int, int, int, list[tuple[int, int]] | None, int, bytes]
"""What `_FOUND` names, preferred replica, records: in the order in which aiokafka has them."""


class Limits(NamedTuple):
    """How long the broker may wait for how much, and which records it may show."""

    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    isolation: int


class FetchAnswer:
    """What a broker says to a fetch: named as aiokafka names it."""

    API_VERSION: ClassVar = 11

    __slots__ = ("error_code", "session_id", "topics")

    def __init__(self, error_code: int, session_id: int, topics: list[tuple[str, list[Found]]]) -> None:
        self.error_code = error_code
        self.session_id = session_id
        self.topics = topics


class FetchPacket(Packet):
    """A fetch in a session. `gone` are partitions that the session shall forget."""

    API_KEY = 1
    VERSION = 11

    __slots__ = ("_asked", "_epoch", "_gone", "_limits", "_rack", "_session")

    def __init__(
        self,
        limits: Limits,
        *,
        session: int,
        epoch: int,
        asked: Mapping[str, Sequence[Asked]],
        gone: Mapping[str, Sequence[int]],
        rack: str,
    ) -> None:
        self._limits = limits
        self._session = session
        self._epoch = epoch
        self._asked = asked
        self._gone = gone
        self._rack = rack

    def body(self) -> bytes:
        parts = [_FIXED.pack(_NO_REPLICA, *self._limits, self._session, self._epoch, len(self._asked))]
        for topic, partitions in self._asked.items():
            parts += (text(topic), COUNT.pack(len(partitions)))
            parts += [
                _ASKED.pack(partition, _UNKNOWN, offset, _UNKNOWN, most) for partition, offset, most in partitions
            ]
        parts.append(COUNT.pack(len(self._gone)))
        for topic, numbers in self._gone.items():
            parts += (text(topic), COUNT.pack(len(numbers)), *map(COUNT.pack, numbers))
        parts.append(text(self._rack))
        return b"".join(parts)

    def answer(self, frame: bytes) -> FetchAnswer:
        _, error, session, count = _HEAD.unpack_from(frame, HEADER_BYTES)
        at = HEADER_BYTES + _HEAD.size
        topics: list[tuple[str, list[Found]]] = []
        for _ in range(count):
            name, partitions, at = topic_at(frame, at)
            found: list[Found] = []
            for _ in range(partitions):
                partition, failure, high, stable, begin, transactions = _FOUND.unpack_from(frame, at)
                at += _FOUND.size
                aborted = None
                if transactions >= 0:
                    end = at + transactions * _ABORTED.size
                    aborted = list(_ABORTED.iter_unpack(frame[at:end]))
                    at = end
                replica, size = _RECORDS.unpack_from(frame, at)
                at += _RECORDS.size
                end = at + max(size, 0)
                found.append((partition, failure, high, stable, begin, aborted, replica, frame[at:end]))
                at = end
            topics.append((name, found))
        check_end(frame, at)
        return FetchAnswer(error, session, topics)
