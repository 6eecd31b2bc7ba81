"""What every log promises to the engine: the same tests on those in memory, a simulated process's too, and on Kafka."""

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.adapters.kafka.table import KafkaTables
from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryTables
from beluga_stream.application.partitioner import partition_of
from beluga_stream.errors import Fenced, RecordTooLarge, TopicMissing
from beluga_stream.ports.log import Appender, Outgoing, Reader, Record, Tables, TopicSpec
from beluga_stream.testing.faulty_ports import FaultyAppender, FaultyReader, FaultyTables
from beluga_stream.testing.process import Faults, Process

_COMPACTED = {"cleanup.policy": "compact"}


@dataclass
class Log:
    """The ports of one adapter, over a topic of four partitions. `owner` makes one process's tables."""

    appender: Appender
    reader: Reader
    topic: str
    owner: Callable[[str], AbstractAsyncContextManager[Tables]]

    async def all(self) -> list[Record]:
        start, end = await self.reader.beginning(self.topic), await self.reader.end(self.topic)
        return [record async for batch in self.reader.read(self.topic, start, until=end) for record in batch]

    async def put(self, *values: str, partition: int = 1) -> None:
        await self.appender.append(
            [Outgoing(self.topic, b"k", value.encode(), partition=partition) for value in values]
        )


Open = Callable[[], AbstractAsyncContextManager[Log]]


@pytest.fixture(params=["memory", "simulated", pytest.param("kafka", marks=pytest.mark.kafka)])
def opened(request: pytest.FixtureRequest) -> Open:
    if request.param == "memory":
        return _memory
    if request.param == "simulated":
        return _simulated
    return partial(_kafka, request.getfixturevalue("broker"))


@asynccontextmanager
async def _memory() -> AsyncGenerator[Log, None]:
    log = MemoryLog()
    log.create([TopicSpec("log", 4)])
    tables = MemoryTables(MemoryGroup("group"), ["log"], log)

    @asynccontextmanager
    async def owner(name: str) -> AsyncGenerator[Tables, None]:
        yield tables

    yield Log(log, log, "log", owner)


@asynccontextmanager
async def _simulated() -> AsyncGenerator[Log, None]:
    """As a process of the simulation has them: every effect takes a while, and a batch arrives record by record."""
    log = MemoryLog()
    log.create([TopicSpec("log", 4)])
    process = Process("simulated", Faults(random.Random(1), delay=0.002, slow=0.0))
    changelogs: dict[int, Changelog] = {}

    @asynccontextmanager
    async def owner(name: str) -> AsyncGenerator[Tables, None]:
        mine = Process(name, Faults(random.Random(name), delay=0.002, slow=0.0))
        yield FaultyTables(MemoryGroup("group"), ["log"], log, changelogs, mine)

    yield Log(FaultyAppender(log, process), FaultyReader(log, process), "log", owner)


@asynccontextmanager
async def _kafka(address: str) -> AsyncGenerator[Log, None]:
    connection = KafkaConnection.parse(address)
    prefix = f"t-{uuid.uuid4().hex[:10]}."
    topic, changelog = f"{prefix}log", f"{prefix}changelog"

    def owner(name: str) -> AbstractAsyncContextManager[Tables]:
        return KafkaTables(connection, group=f"{prefix}group", topics=[topic], owner=name, changelog=changelog)

    async with (
        KafkaTopics(connection) as topics,
        KafkaAppender(connection) as appender,
        KafkaReader(connection) as reader,
    ):
        await topics.ensure([TopicSpec(topic, 4), TopicSpec(changelog, 4, _COMPACTED)])
        try:
            yield Log(appender, reader, topic, owner)
        finally:
            await topics.delete([topic, changelog])


def values(records: Sequence[Record]) -> list[str]:
    return [(record.value or b"").decode() for record in records]


async def test_a_record_lies_where_its_append_says_with_its_key_and_headers(opened: Open) -> None:
    async with opened() as log:
        sent = [
            Outgoing(log.topic, f"run-{number % 7}".encode(), str(number).encode(), (("n", b"\xff"),))
            for number in range(200)
        ]
        positions = await log.appender.append(sent)
        found = {record.position: record for record in await log.all()}
    assert len(found) == len(positions) == len(sent)
    for outgoing, position in zip(sent, positions, strict=True):
        record = found[position]
        assert (record.key, record.value, record.headers) == (outgoing.key, outgoing.value, outgoing.headers)
        assert outgoing.key is not None
        assert record.partition == partition_of(outgoing.key, 4)


async def test_a_partition_keeps_the_order_of_its_appends(opened: Open) -> None:
    async with opened() as log:
        for start in range(0, 50, 10):
            await log.put(*(str(number) for number in range(start, start + 10)))
        assert values(await log.all()) == [str(number) for number in range(50)]


async def test_a_record_that_is_too_large_stops_its_whole_append(opened: Open) -> None:
    async with opened() as log:
        with pytest.raises(RecordTooLarge):
            await log.appender.append(
                [Outgoing(log.topic, b"k", b"small"), Outgoing(log.topic, b"k", b"x" * 1_000_001)]
            )
        assert await log.all() == []


async def test_a_missing_topic_is_named(opened: Open) -> None:
    async with opened() as log:
        with pytest.raises(TopicMissing, match="nowhere"):
            await log.reader.end("nowhere")
        with pytest.raises(TopicMissing, match="nowhere"):
            await log.reader.partitions("nowhere")


async def test_ends_and_beginnings_are_of_every_partition(opened: Open) -> None:
    async with opened() as log:
        await log.put("a", "b", partition=2)
        assert await log.reader.partitions(log.topic) == 4
        assert dict(await log.reader.end(log.topic)) == {0: 0, 1: 0, 2: 2, 3: 0}
        assert dict(await log.reader.beginning(log.topic)) == {0: 0, 1: 0, 2: 0, 3: 0}


async def test_a_bounded_read_gives_exactly_its_range(opened: Open) -> None:
    async with opened() as log:
        await log.put(*"abcdef")
        found = [
            record async for batch in log.reader.read(log.topic, {1: 2, 3: 0}, until={1: 5, 3: 0}) for record in batch
        ]
        nothing = [batch async for batch in log.reader.read(log.topic, {1: 5}, until={1: 5})]
    assert values(found) == ["c", "d", "e"]
    assert nothing == []


async def test_a_live_read_goes_on_with_what_is_appended_later(opened: Open) -> None:
    async with opened() as log:
        await log.put("old")
        live = log.reader.read(log.topic, {1: 0})
        seen: list[str] = []
        async with asyncio.timeout(20):
            async for batch in live:
                seen += values(batch)
                if batch and seen == ["old"]:  # An idle read gives empty batches too.
                    await log.put("new")
                if len(seen) >= 2:
                    break
        await live.aclose()  # type: ignore[attr-defined]
    assert seen == ["old", "new"]


async def test_offsets_are_found_by_time(opened: Open) -> None:
    async with opened() as log:
        await log.put("first")
        stamped = (await log.all())[0].timestamp_ms
        assert (await log.reader.at_time(log.topic, stamped))[1] == 0
        assert await log.reader.at_time(log.topic, stamped + 3_600_000) == await log.reader.end(log.topic)


async def test_the_next_owner_of_a_partition_finds_what_was_committed(opened: Open) -> None:
    async with opened() as log:
        async with log.owner("first") as first:
            table = await first.open(1)
            await table.commit([("a", b"1"), ("b", b"2"), ("a", b"3")])
            await table.commit([("b", None)])
            assert (table.get("a"), table.get("b")) == (b"3", None)
            await table.close()
        async with log.owner("second") as second:
            table = await second.open(1)
            assert list(table.items()) == [("a", b"3")]
            assert list((await second.open(2)).items()) == []


async def test_an_earlier_owner_can_write_no_more(opened: Open, request: pytest.FixtureRequest) -> None:
    if "kafka" in request.node.callspec.id:
        request.getfixturevalue("real_broker")
    async with opened() as log, log.owner("zombie") as zombie, log.owner("heir") as heir:
        before = await zombie.open(0)
        await before.commit([("a", b"old")])
        after = await heir.open(0)
        await after.commit([("a", b"new")])
        with pytest.raises(Fenced):
            await before.commit([("a", b"stale")])
        assert after.get("a") == b"new"


async def test_an_earlier_owner_appends_no_more_where_a_later_one_has(
    opened: Open, request: pytest.FixtureRequest
) -> None:
    if "kafka" in request.node.callspec.id:
        request.getfixturevalue("real_broker")
    async with opened() as log, log.owner("zombie") as zombie, log.owner("heir") as heir:
        before, after = await zombie.open(1), await heir.open(1)
        for table, value in ((before, b"old"), (after, b"new")):
            (place,) = await table.append([Outgoing(log.topic, b"k", value, partition=1)])
            assert (place.topic, place.partition) == (log.topic, 1)
        with pytest.raises(Fenced):
            await before.append([Outgoing(log.topic, b"k", b"stale", partition=1)])
        assert values(await log.all()) == ["old", "new"]


async def test_offsets_begin_at_zero(opened: Open) -> None:
    async with opened() as log, log.owner("one") as one:
        assert dict(await one.committed(3)) == {log.topic: 0}
