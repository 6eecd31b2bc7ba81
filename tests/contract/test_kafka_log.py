"""Appending to Kafka, reading it back, and topics as declared."""

import asyncio
import contextlib
import gc
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.fence import broker_fences
from beluga_stream.adapters.kafka.patience import Patience
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.application.partitioner import partition_of
from beluga_stream.errors import InvalidConfig, LogUnavailable, RecordTooLarge, TopicMismatch, TopicMissing
from beluga_stream.ports.log import Outgoing, Record, TopicSpec
from tests.brokers import EmbeddedBroker

PARTITIONS = 4


@pytest.fixture
def connection(broker: str) -> KafkaConnection:
    return KafkaConnection.parse(broker, request_timeout=5.0)


async def read_all(reader: KafkaReader, topic: str) -> list[Record]:
    start, end = await reader.beginning(topic), await reader.end(topic)
    return [record async for batch in reader.read(topic, start, until=end) for record in batch]


async def test_records_keep_key_headers_and_order_and_lie_where_they_are_said_to(
    connection: KafkaConnection, topic: str
) -> None:
    outgoing = [
        Outgoing(topic, f"run-{i % 7}".encode(), f"{i}".encode(), (("kind", b"x"), ("n", str(i).encode())))
        for i in range(3000)
    ]
    async with KafkaAppender(connection) as appender, KafkaReader(connection) as reader:
        positions = await appender.append(outgoing)
        found = {record.position: record for record in await read_all(reader, topic)}
    assert len(found) == len(positions) == 3000
    for sent, position in zip(outgoing, positions, strict=True):
        record = found[position]
        assert (record.key, record.value, record.headers) == (sent.key, sent.value, sent.headers)
        assert sent.key is not None
        assert record.partition == partition_of(sent.key, PARTITIONS)
        assert record.timestamp_ms > 0
    by_partition: dict[int, list[int]] = {}
    for position, record in sorted(found.items()):
        by_partition.setdefault(position.partition, []).append(int(record.value or b""))
    assert all(values == sorted(values) for values in by_partition.values())


async def test_concurrent_appends_each_get_their_own_positions(connection: KafkaConnection, topic: str) -> None:
    async with KafkaAppender(connection) as appender, KafkaReader(connection) as reader:
        answers = await asyncio.gather(
            *(appender.append([Outgoing(topic, b"k", f"{i}-{j}".encode()) for j in range(3)]) for i in range(100))
        )
        found = {record.position: record.value for record in await read_all(reader, topic)}
    for i, positions in enumerate(answers):
        assert [found[position] for position in positions] == [f"{i}-{j}".encode() for j in range(3)]
        assert [p.offset for p in positions] == sorted(p.offset for p in positions)


async def test_who_has_stopped_appends_nothing_more(connection: KafkaConnection, topic: str) -> None:
    async with KafkaAppender(connection) as appender, KafkaReader(connection) as reader:
        await appender.stop()
        with pytest.raises(LogUnavailable, match="not started"):  # by a producer that nobody would stop
            await appender.append([Outgoing(topic, b"k", b"v")])
        assert await read_all(reader, topic) == []
        async with appender:
            assert len(await appender.append([Outgoing(topic, b"k", b"v")])) == 1


async def test_many_batches_of_one_partition_keep_their_order(connection: KafkaConnection, topic: str) -> None:
    outgoing = [Outgoing(topic, b"one", str(i).encode() * 20_000, partition=2) for i in range(200)]
    async with KafkaAppender(connection) as appender:
        positions = await appender.append(outgoing)
    assert [position.offset for position in positions] == list(range(200))


async def test_a_record_that_is_too_large_stops_the_whole_append(connection: KafkaConnection, topic: str) -> None:
    async with KafkaAppender(connection) as appender, KafkaReader(connection) as reader:
        with pytest.raises(RecordTooLarge, match="above the limit"):
            await appender.append([Outgoing(topic, b"k", b"small"), Outgoing(topic, b"k", b"x" * 1_000_000)])
        assert await read_all(reader, topic) == []


async def test_a_missing_topic_fails_only_its_own_append(
    connection: KafkaConnection, topic: str, topic_prefix: str, real_broker: str
) -> None:
    async with KafkaAppender(connection, timeout=10.0) as appender:
        missing = asyncio.create_task(appender.append([Outgoing(f"{topic_prefix}absent", b"k", b"v")]))
        assert len(await appender.append([Outgoing(topic, b"k", b"v")])) == 1
        with contextlib.suppress(LogUnavailable, TopicMissing):
            # A broker that creates topics by itself may also accept it.
            await missing


async def test_reading_stops_at_the_end_starts_anywhere_and_closes_its_consumer(
    connection: KafkaConnection, topic: str
) -> None:
    async with KafkaAppender(connection) as appender, KafkaReader(connection, max_records=10) as reader:
        await appender.append([Outgoing(topic, b"k", str(i).encode(), partition=1) for i in range(100)])
        some = [
            int(record.value or b"") async for batch in reader.read(topic, {1: 30}, until={1: 60}) for record in batch
        ]
        assert some == list(range(30, 60))
        assert [batch async for batch in reader.read(topic, {1: 60}, until={1: 60})] == []
        live = reader.read(topic, {1: 99})
        seen: list[Record] = []
        async with asyncio.timeout(20):
            async for batch in live:
                seen += batch
                if len(seen) == 1:
                    await appender.append([Outgoing(topic, b"k", b"new", partition=1)])
                elif len(seen) == 2:
                    break
        await live.aclose()  # type: ignore[attr-defined]
        assert [record.value for record in seen] == [b"99", b"new"]
        assert await reader.partitions(topic) == PARTITIONS
        assert (await reader.end(topic))[1] == 101
        assert (await reader.beginning(topic))[1] == 0


async def test_what_is_known_to_be_there_is_waited_for_within_a_bound() -> None:
    """A broker that goes away in the midst of it must not hold up a command or a gateway for ever."""
    broker = EmbeddedBroker()
    broker.start()
    try:
        connection = KafkaConnection.parse(broker.address, request_timeout=5.0)
        async with KafkaTopics(connection) as topics, KafkaAppender(connection) as appender:
            await topics.ensure([TopicSpec("log", 1)])
            await appender.append([Outgoing("log", b"k", b"v")])
        async with asyncio.timeout(30), KafkaReader(connection, timeout=2.0) as reader:
            reading = reader.read("log", {0: 0}, until={0: 2})
            assert [record.value for record in await anext(reading)] == [b"v"]
            broker.stop()
            with pytest.raises(LogUnavailable, match=r"cannot read log: Kafka at \S+ has sent nothing for 2 s"):
                await anext(reading)
    finally:
        broker.stop()


async def test_offsets_are_found_by_time(connection: KafkaConnection, topic: str) -> None:
    async with KafkaAppender(connection) as appender, KafkaReader(connection) as reader:
        await appender.append([Outgoing(topic, b"k", b"first", partition=0)])
        first = (await read_all(reader, topic))[0]
        assert (await reader.at_time(topic, first.timestamp_ms))[0] == 0
        later = await reader.at_time(topic, first.timestamp_ms + 3_600_000)
        assert later == await reader.end(topic)


async def test_a_missing_topic_is_named(connection: KafkaConnection, topic_prefix: str) -> None:
    async with KafkaReader(connection) as reader:
        with pytest.raises(TopicMissing, match="absent"):
            await reader.end(f"{topic_prefix}absent")


async def test_what_another_process_has_created_meanwhile_is_not_ours(
    connection: KafkaConnection, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{topic_prefix}a"
    async with KafkaTopics(connection) as topics:
        assert list(await topics.ensure([TopicSpec(name, 1)])) == [name]
        describe, looks = topics.describe, itertools.count()

        async def late(names: Iterable[str] | None = None) -> Mapping[str, int]:
            return await describe(names) if next(looks) else {}

        monkeypatch.setattr(topics, "describe", late)
        assert list(await topics.ensure([TopicSpec(name, 1), TopicSpec(f"{topic_prefix}b", 1)])) == [f"{topic_prefix}b"]
        await topics.delete([name, f"{topic_prefix}b"])


async def test_topics_are_created_once_and_checked_after(connection: KafkaConnection, topic_prefix: str) -> None:
    specs = [
        TopicSpec(f"{topic_prefix}a", 3),
        TopicSpec(f"{topic_prefix}b", 1, {"cleanup.policy": "compact"}),
    ]
    names = [spec.name for spec in specs]
    async with KafkaTopics(connection) as topics:
        assert list(await topics.ensure(specs)) == names
        assert list(await topics.ensure(specs)) == []
        with pytest.raises(TopicMismatch, match=r"a has 3 partitions, but 4 are declared") as caught:
            await topics.ensure([TopicSpec(f"{topic_prefix}a", 4)])
        assert caught.value.ids == {"topic": names[0], "actual": "3", "declared": "4"}
        assert await topics.describe(names) == dict(zip(names, (3, 1), strict=True))
        assert await topics.inspect([*names, f"{topic_prefix}absent"], ["cleanup.policy"]) == {
            names[0]: TopicSpec(names[0], 3, {"cleanup.policy": "delete"}),
            names[1]: TopicSpec(names[1], 1, {"cleanup.policy": "compact"}),
        }
        await topics.delete([*names, f"{topic_prefix}never"])
        async with asyncio.timeout(10):
            while await topics.describe(names):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.05)


async def test_no_broker_is_given_up_after_a_while() -> None:
    nobody = KafkaConnection(("127.0.0.1:1",), request_timeout=1.0)
    with pytest.raises(LogUnavailable, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        await KafkaTopics(nobody, patience=1.5).start()
    with pytest.raises(LogUnavailable):
        await KafkaAppender(nobody, timeout=2.0).start()
    with pytest.raises(LogUnavailable):
        # No answer is not the answer that it does not fence.
        await broker_fences(nobody, "id", Outgoing("topic", b"k", b"v", partition=0), Patience("there", 1.0))


def test_a_connection_hides_its_password_and_refuses_half_of_one() -> None:
    connection = KafkaConnection(("b:9092",), security_protocol="SASL_SSL", username="u", password="very secret")
    assert "very secret" not in repr(connection)
    settings = connection.client_settings("x")
    assert settings["sasl_plain_password"] == "very secret"
    assert settings["ssl_context"] is not None
    credentials = connection.faust_settings()["broker_credentials"]
    assert credentials.protocol.value == "SASL_SSL"
    for wrong in ({"security_protocol": "SASL_SSL"}, {"security_protocol": "TLS"}, {"sasl_mechanism": "X"}):
        with pytest.raises(InvalidConfig):
            KafkaConnection(("b:9092",), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig):
        KafkaConnection.parse("kafka://b:9092")


async def test_a_reading_that_is_given_up_leaves_no_connection(connection: KafkaConnection, topic: str) -> None:
    """Whenever it is: what is left would warn when it is collected."""
    async with KafkaReader(connection) as reader:
        for milliseconds in range(30):
            reading = asyncio.ensure_future(anext(reader.read(topic, {0: 0})))
            await asyncio.wait({reading}, timeout=milliseconds / 1000)
            reading.cancel()
            await asyncio.wait({reading})
    gc.collect()


async def test_thousands_that_begin_to_read_ask_once_how_many_partitions_there_are(
    connection: KafkaConnection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with KafkaReader(connection) as reader:
        asked = []
        describe = reader._topics.describe

        async def counted(names: Any) -> Any:
            asked.append(names)
            return await describe(names)

        monkeypatch.setattr(reader._topics, "describe", counted)
        assert set(await asyncio.gather(*(reader.partitions(topic) for _ in range(2_000)))) == {PARTITIONS}
        assert len(asked) == 1


async def test_who_waits_for_the_answer_to_another_waits_no_longer_than_for_one_of_its_own(
    connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with KafkaReader(connection, timeout=0.2) as reader:

        async def never(names: Any) -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr(reader._topics, "describe", never)
        async with asyncio.timeout(10):
            found = await asyncio.gather(*(reader.partitions("any") for _ in range(200)), return_exceptions=True)
        assert {type(each) for each in found} == {LogUnavailable}
