"""A member of a group loses no message, and begins none twice, while its partitions are being shared out."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
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
        self.done: list[str] = []

    generation = 1

    @property
    def _coordinator(self) -> "_Consumer":
        return self

    def request_rejoin(self) -> None:
        self.done.append("asked to be shared out")

    def pause(self, *paused: TopicPartition) -> None:
        self.done.append(f"paused {[at.partition for at in paused]}")

    def seek(self, at: TopicPartition, offset: int) -> None:
        if at == self.first:
            self._position = offset

    async def committed(self, at: TopicPartition) -> int:
        self.first = self.first or at
        if at != self.first:
            await self.knows.wait()
        return 0

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.done += [f"committed {at.partition} up to {offset}" for at, offset in offsets.items()]

    async def getmany(self, **_: Any) -> Mapping[TopicPartition, Sequence[_Fetched]]:
        self.fetching.set()
        await self.may_end.wait()
        await asyncio.sleep(0)
        assert self.first is not None
        found = [_Fetched(*self.first, offset) for offset in range(self._position, 1)]
        self._position = 1
        return {self.first: found} if found else {}


async def _released(parts: Collection[int], grace: float) -> None: ...


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


async def test_a_partition_that_is_too_much_is_given_up_once_its_handlers_are_done() -> None:
    released: list[tuple[Collection[int], float]] = []
    may_end = asyncio.Event()

    async def release(parts: Collection[int], grace: float) -> None:
        released.append((parts, grace))
        await may_end.wait()
        line.done(taken)

    line = GroupLine(KafkaConnection(("127.0.0.1:9092",)), "bus", "g", sort=_sorted, release=release, session_seconds=1)
    consumer = line._consumer = _Consumer()
    consumer.knows.set()
    consumer.may_end.set()
    consumer.first = _FIRST
    await line.on_partitions_assigned({_FIRST})
    taken = await asyncio.wait_for(line.take(), 5)
    line._sharing.metadata(["bus"])
    line._sharing.too_many = 1

    await line.on_partitions_assigned({_FIRST})
    assert not line._sharing.told - {0}
    await asyncio.sleep(0)
    assert released == [({0}, 60)]
    assert consumer.done == ["paused [0]"]
    assert line._held() == {0}, "it has it until it is done with it"
    may_end.set()
    await asyncio.gather(*line._giving_up)
    assert consumer.done == ["paused [0]", "committed 0 up to 1", "asked to be shared out"]
    assert line._held() == set()


async def test_what_a_member_loses_because_it_was_silent_it_does_no_longer() -> None:
    released: list[tuple[Collection[int], float]] = []

    async def release(parts: Collection[int], grace: float) -> None:
        released.append((parts, grace))

    line = GroupLine(KafkaConnection(("127.0.0.1:9092",)), "bus", "g", sort=_sorted, release=release, session_seconds=1)
    consumer = line._consumer = _Consumer()
    consumer.knows.set()
    await line.on_partitions_assigned({_FIRST})
    line._sharing.metadata(["bus"])
    await line.on_partitions_assigned({_FIRST})
    assert released == [], "it has gone on all the while"

    consumer.generation = -1
    line._sharing.metadata(["bus"])
    await line.on_partitions_assigned({_FIRST})
    assert released == [({0}, 0)], "others may have been at it"
    await line.on_partitions_revoked({_FIRST})
    assert released[1:] == [({0}, 5)]
