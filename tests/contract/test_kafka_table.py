"""The table of a partition: durable before it shows, recovered whole, and written by one owner only."""

import asyncio
from pathlib import Path

import pytest

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.adapters.kafka.store import MemoryStore, RocksStore, StoreFactory
from beluga_stream.adapters.kafka.table import CLAIM_KEY, KafkaTables, TableOptions
from beluga_stream.errors import Fenced, InvalidConfig, RecordTooLarge
from beluga_stream.ports.log import TopicSpec


@pytest.fixture
def connection(broker: str) -> KafkaConnection:
    return KafkaConnection.parse(broker)


@pytest.fixture
async def changelog(connection: KafkaConnection, topic_prefix: str) -> str:
    name = f"{topic_prefix}changelog"
    async with KafkaTopics(connection) as topics:
        await topics.ensure([TopicSpec(name, 2, {"cleanup.policy": "compact"}), TopicSpec(f"{topic_prefix}in", 2)])
    return name


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    return MemoryStore if request.param == "memory" else RocksStore.factory(tmp_path)


def tables(connection: KafkaConnection, changelog: str, owner: str, store: StoreFactory = MemoryStore) -> KafkaTables:
    prefix = changelog.removesuffix("changelog")
    return KafkaTables(
        connection,
        group=f"{prefix}group",
        topics=[f"{prefix}in"],
        owner=owner,
        changelog=changelog,
        options=TableOptions(store=store),
    )


async def test_the_next_owner_recovers_what_was_committed(
    connection: KafkaConnection, changelog: str, store: StoreFactory
) -> None:
    async with tables(connection, changelog, "first", store) as first:
        table = await first.open(0)
        assert not list(table.items())
        await table.commit([("a", b"1"), ("b", b"2"), ("c", b"3")])
        await table.commit([("a", None), ("b", b"22")])
        await table.commit([(f"many-{i}", b"x" * 1000) for i in range(3000)])
        assert (table.get("a"), table.get("b"), table.get("c")) == (None, b"22", b"3")
        await table.close()
        assert dict(first.opened) == {}
    async with tables(connection, changelog, "second", store) as second:
        table = await second.open(0)
        other = await second.open(1)
        assert (table.get("a"), table.get("b"), table.get("c")) == (None, b"22", b"3")
        assert len(list(table.items())) == 3002
        assert table.get(CLAIM_KEY) is None
        assert not list(other.items())
        assert set(second.opened) == {0, 1}


async def test_a_paused_owner_is_fenced_at_its_next_write(connection: KafkaConnection, changelog: str) -> None:
    async with (
        tables(connection, changelog, "paused") as paused,
        tables(connection, changelog, "next") as later,
    ):
        zombie = await paused.open(0)
        await zombie.commit([("run", b"old")])
        table = await later.open(0)
        assert later.fencing is True
        assert table.get("run") == b"old"
        with pytest.raises(Fenced):
            await zombie.commit([("run", b"overwritten")])
        assert zombie.get("run") == b"old"
        with pytest.raises(Fenced):
            await zombie.commit([("run", b"again")])
        await table.commit([("run", b"new")])
        # Opening again, in the same process, recovers the truth as well.
        assert (await later.open(0)).get("run") == b"new"


async def test_the_claim_is_in_the_log_and_renewed(connection: KafkaConnection, changelog: str) -> None:
    owner = KafkaTables(
        connection,
        group=f"{changelog}-group",
        topics=[],
        owner="somebody",
        changelog=changelog,
        options=TableOptions(claim_interval=0.2),
    )
    async with owner, KafkaReader(connection) as reader:
        await owner.open(1)
        claims = 0
        async with asyncio.timeout(20):
            async for batch in reader.read(changelog, {1: 0}):
                claims += sum(
                    record.key == CLAIM_KEY.encode() and (record.value or b"").startswith(b"somebody ")
                    for record in batch
                )
                if claims >= 3:
                    break


async def test_after_a_row_that_is_too_large_nothing_is_written(connection: KafkaConnection, changelog: str) -> None:
    async with tables(connection, changelog, "one") as one:
        table = await one.open(0)
        with pytest.raises(RecordTooLarge):
            await table.commit([("small", b"1"), ("large", b"x" * 2_000_000)])
        with pytest.raises(RecordTooLarge):
            await table.commit([("small", b"2")])
        assert not list(table.items())


async def test_a_changelog_for_short_batches_only_is_named(
    real_broker: str, connection: KafkaConnection, topic_prefix: str
) -> None:
    changelog = f"{topic_prefix}short-changelog"
    async with KafkaTopics(connection) as topics:
        await topics.ensure([TopicSpec(changelog, 1, {"cleanup.policy": "compact", "max.message.bytes": "100000"})])
    async with tables(connection, changelog, "one") as one:
        table = await one.open(0)
        with pytest.raises(InvalidConfig, match=f"for {changelog}: raise the topic's max.message.bytes"):
            await table.commit([(f"row-{number}", b"x" * 1_000) for number in range(900)])


async def test_committed_offsets_begin_at_zero(connection: KafkaConnection, changelog: str, topic_prefix: str) -> None:
    async with tables(connection, changelog, "one") as one:
        assert await one.committed(1) == {f"{topic_prefix}in": 0}
