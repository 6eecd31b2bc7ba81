"""A member of a group loses no message to a fetch that ends while its partitions are being shared out."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from beluga_stream.adapters.kafka.bus_lines import GroupLine
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.ports.bus import Parcel
from beluga_stream.ports.log import Record

_FIRST, _SECOND = TopicPartition("bus", 0), TopicPartition("bus", 1)


class _Fetched(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: None = None
    value: bytes = b""
    timestamp: int = 0
    headers: tuple[()] = ()


class _Consumer:
    """Has a message in the partition whose place is asked for first; a fetch ends when it is told to."""

    def __init__(self) -> None:
        self.fetching = asyncio.Event()
        self.may_end = asyncio.Event()
        self.knows = asyncio.Event()
        self.first: TopicPartition | None = None
        self._position = 1

    def seek(self, at: TopicPartition, offset: int) -> None:
        if at == self.first:
            self._position = offset

    async def committed(self, at: TopicPartition) -> int:
        self.first = self.first or at
        if at != self.first:
            await self.knows.wait()
        return 0

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...

    async def getmany(self, **_: Any) -> Mapping[TopicPartition, Sequence[_Fetched]]:
        self.fetching.set()
        await self.may_end.wait()
        await asyncio.sleep(0)
        assert self.first is not None
        found = [_Fetched(*self.first, offset) for offset in range(self._position, 1)]
        self._position = 1
        return {self.first: found} if found else {}


async def _released() -> None: ...


def _sorted(record: Record) -> Parcel:
    return Parcel(str(record.offset), "a", "k", b"")


async def test_a_message_that_comes_before_all_places_are_known_is_taken_when_they_are() -> None:
    connection = KafkaConnection(("127.0.0.1:9092",))
    line = GroupLine(connection, "bus", "g", sort=_sorted, release=_released, session_seconds=1)
    consumer = line._consumer = _Consumer()
    await line.on_partitions_assigned({_FIRST})
    taking = asyncio.create_task(line.take())
    await consumer.fetching.wait()

    await line.on_partitions_revoked({_FIRST})
    consumer.first = None
    sharing = asyncio.create_task(line.on_partitions_assigned((_FIRST, _SECOND)))
    await asyncio.sleep(0)
    consumer.may_end.set()
    for _ in range(3):
        await asyncio.sleep(0)
    consumer.knows.set()
    await sharing
    assert (await asyncio.wait_for(taking, 5)).parcel.id == "0"
