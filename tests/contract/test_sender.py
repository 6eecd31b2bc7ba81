"""What a producer is handed is sent at once, in order and once, and nothing of it goes on when it has been stopped."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NotLeaderForPartitionError, ProducerClosed

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.batches import MAX_RECORD_BYTES, begin, send_batches
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.produce_packet import ProduceAnswer
from beluga_stream.adapters.kafka.producer import PatientProducer
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Position, TopicSpec
from tests.brokers import EmbeddedBroker

PARTITIONS = 8
_NOT_LEADER = NotLeaderForPartitionError.errno


@pytest.fixture
async def producer(connection: KafkaConnection) -> AsyncIterator[PatientProducer]:
    made = a_producer(connection)
    await made.start()
    yield made
    async with asyncio.timeout(30):
        await made.stop()


def a_producer(connection: KafkaConnection, patience: float = 30.0) -> PatientProducer:
    return PatientProducer(connection, "test", patience=patience, max_record_bytes=MAX_RECORD_BYTES)


async def under_way(producer: PatientProducer) -> None:
    """Wait until it has sent something that is not answered."""
    while not producer._message_accumulator._pending_batches:  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(0)


def one(topic: str, partition: int, value: bytes = b"v") -> list[Outgoing]:
    return [Outgoing(topic, b"k", value, partition=partition)]


async def written(connection: KafkaConnection, topic: str) -> dict[int, list[bytes | None]]:
    found: dict[int, list[bytes | None]] = {}
    async with KafkaReader(connection) as reader:
        end = await reader.end(topic)
        async for records in reader.read(topic, dict.fromkeys(end, 0), until=end):
            for record in records:
                found.setdefault(record.partition, []).append(record.value)
    return found


async def test_many_appends_on_many_partitions_arrive_once_and_in_order(
    connection: KafkaConnection, topic: str, producer: PatientProducer
) -> None:
    async def write(partition: int) -> None:
        for number in range(100):
            outcomes = await send_batches(producer, one(topic, partition, b"%d" % number))
            assert outcomes == [Position(topic, partition, number)]

    async with asyncio.timeout(60):
        await asyncio.gather(*map(write, range(PARTITIONS)))
    assert await written(connection, topic) == {
        partition: [b"%d" % number for number in range(100)] for partition in range(PARTITIONS)
    }


async def test_single_records_go_the_same_way(
    connection: KafkaConnection, topic: str, producer: PatientProducer
) -> None:
    """Many more than a batch takes, so that some wait for one that is under way."""
    async with asyncio.timeout(60):
        sent = [await producer.send(topic, b"%d" % number * 10_000, partition=number % 2) for number in range(200)]
        offsets = [(await each).offset for each in sent]
        assert (await producer.send_and_wait(topic, b"last", partition=0)).offset == 100
    assert offsets == [number // 2 for number in range(200)]
    found = await written(connection, topic)
    assert found[0] == [*(b"%d" % number * 10_000 for number in range(0, 200, 2)), b"last"]


async def test_what_is_handed_over_in_one_turn_is_one_request(topic: str, producer: PatientProducer) -> None:
    await asyncio.gather(*(send_batches(producer, one(topic, partition)) for partition in range(PARTITIONS)))
    requests: list[int] = []
    client: Any = producer.client
    send = client.send

    async def counted(node: int, request: Any, **more: Any) -> Any:
        requests.append(sum(len(batches) for _, batches in request._topics))
        return await send(node, request, **more)

    client.send = counted
    await asyncio.gather(*(send_batches(producer, one(topic, partition)) for partition in range(PARTITIONS)))
    assert requests == [PARTITIONS]


async def test_what_is_under_way_is_sent_before_a_producer_ends(connection: KafkaConnection, topic: str) -> None:
    producer = a_producer(connection)
    await producer.start()
    sent = [await producer.send(topic, b"%d" % number, partition=number % PARTITIONS) for number in range(50)]
    async with asyncio.timeout(30):
        await producer.stop()
        assert len([await each for each in sent]) == 50
        with pytest.raises(ProducerClosed):
            await producer.send(topic, b"late", partition=0)


async def test_who_appends_while_a_producer_ends_hears_of_it(
    connection: KafkaConnection, topic: str, unheard: list[str]
) -> None:
    """Each waits for the batch before its own, which may be the last one that is sent."""
    producer = a_producer(connection)
    await producer.start()
    appends = [asyncio.create_task(send_batches(producer, one(topic, 0, b"%d" % number))) for number in range(50)]
    await under_way(producer)
    async with asyncio.timeout(30):
        await producer.stop()
        heard = [outcome for [outcome] in await asyncio.gather(*appends)]
    confirmed = [each for each in heard if isinstance(each, Position)]
    assert confirmed
    assert all(isinstance(each, Position | ProducerClosed) for each in heard)
    assert len((await written(connection, topic))[0]) == len(confirmed)
    assert not producer._sender._requests
    gc.collect()
    assert unheard == []


# ------------------------------------------------------------------------------------- what goes wrong
async def test_a_batch_waits_for_a_leader_and_no_longer_than_patience(
    connection: KafkaConnection, topic: str, unheard: list[str]
) -> None:
    producer = a_producer(connection, patience=0.5)
    await producer.start()
    cluster: Any = producer.client.cluster
    leader_of, leaders = cluster.leader_for_partition, iter([None, -1])
    try:
        await producer.client._wait_on_metadata(topic)
        async with asyncio.timeout(30):
            cluster.leader_for_partition = lambda target: next(leaders, leader_of(target))
            assert await send_batches(producer, one(topic, 0)) == [Position(topic, 0, 0)]
            for nobody, error in ((None, NotLeaderForPartitionError), (-1, LeaderNotAvailableError)):
                cluster.leader_for_partition = lambda target, found=nobody: found if target.partition else 0
                [outcome] = await send_batches(producer, one(topic, 1))
                assert isinstance(outcome, error)
                cluster.leader_for_partition = leader_of
                assert isinstance((await send_batches(producer, one(topic, 0)))[0], Position)
    finally:
        await producer.stop()
    gc.collect()
    assert unheard == []


async def test_what_nobody_expects_ends_the_producer_and_all_that_wait_hear_of_it(
    connection: KafkaConnection, topic: str, unheard: list[str]
) -> None:
    producer = a_producer(connection)
    await producer.start()
    client: Any = producer.client
    send, broken = client.send, asyncio.Event()

    async def breaks(node: int, request: Any, **more: Any) -> Any:
        if not hasattr(request, "_required_acks"):
            return await send(node, request, **more)
        await broken.wait()
        raise ValueError("what is this")

    client.send = breaks
    try:
        appends = [asyncio.create_task(send_batches(producer, one(topic, number % 2))) for number in range(5)]
        await under_way(producer)
        broken.set()
        async with asyncio.timeout(30):
            for [outcome] in await asyncio.gather(*appends):
                assert isinstance(outcome, KafkaError)
                assert "what is this" in str(outcome)
            [outcome] = await send_batches(producer, one(topic, 0))
            assert "what is this" in str(outcome)
    finally:
        await producer.stop()
    assert not producer._sender._requests
    gc.collect()
    assert unheard == []


async def test_an_appender_goes_on_with_another_producer(connection: KafkaConnection, topic: str) -> None:
    async with asyncio.timeout(30), KafkaAppender(connection) as appender:
        producer: Any = appender._producer

        async def breaks(*_: Any, **__: Any) -> Any:
            raise ValueError("what is this")

        producer.client.send = breaks
        with pytest.raises(LogUnavailable):
            await appender.append(one(topic, 0, b"first"))
        await appender.append(one(topic, 0, b"second"))
    assert await written(connection, topic) == {0: [b"second"]}


async def test_what_cannot_be_packed_fails_at_once_with_what_goes_with_it_and_the_appender_goes_on(
    connection: KafkaConnection, topic: str, unheard: list[str]
) -> None:
    """Nobody waits for a flush: it is a callback of the loop."""
    no_text = [Outgoing(topic, b"k", b"v", (("\ud800", b"v"),), partition=0)]
    async with asyncio.timeout(30), KafkaAppender(connection) as appender:
        heard = await asyncio.gather(
            appender.append(one(topic, 1, b"beside")), appender.append(no_text), return_exceptions=True
        )
        assert [type(each) for each in heard] == [UnicodeEncodeError] * 2
        await appender.append(one(topic, 0, b"second"))
    assert await written(connection, topic) == {0: [b"second"]}
    gc.collect()
    assert unheard == []


async def test_what_waits_for_its_next_try_fails_when_its_producer_is_given_up(
    connection: KafkaConnection, topic: str, unheard: list[str]
) -> None:
    producer = a_producer(connection)
    await producer.start()
    await begin(producer, one(topic, 0))
    client: Any = producer.client

    def refuses(*_: Any) -> "asyncio.Future[ProduceAnswer]":
        client.cluster.leader_for_partition = lambda _: None
        answer: asyncio.Future[ProduceAnswer] = asyncio.get_running_loop().create_future()
        answer.set_result(ProduceAnswer([(topic, [(0, _NOT_LEADER, -1, -1, -1)])]))
        return answer

    client.send.__self__.begin = refuses
    async with asyncio.timeout(30):
        sent = begin(producer, one(topic, 0), now=True)
        await under_way(producer)
        while not producer._message_accumulator._batches:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0)
        await producer._sender.give_up()
        [outcome] = await sent
        await producer.stop()
    assert isinstance(outcome, ProducerClosed)
    gc.collect()
    assert unheard == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_producer_that_is_given_up_leaves_nothing_and_its_appends_fail(
    how: signal.Signals, unheard: list[str]
) -> None:
    """Else it would try for ever, and write when the broker comes back, for somebody who does not know of it.

    A broker that stands still does not even take what is to be written before a connection is closed.
    """
    broker = EmbeddedBroker()
    broker.start()
    process: Any = broker._process
    try:
        connection = KafkaConnection.parse(broker.address, request_timeout=1.0)
        async with KafkaTopics(connection) as topics:
            await topics.ensure([TopicSpec("log", 16)])
        producer = a_producer(connection)
        await producer.start()
        await send_batches(producer, one("log", 0))
        process.send_signal(how)
        large = b"x" * 900_000
        appends = [asyncio.create_task(send_batches(producer, one("log", number, large))) for number in range(16)]
        await under_way(producer)
        stopping = asyncio.create_task(producer.stop())
        await asyncio.wait({stopping}, timeout=0.3)
        stopping.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait({stopping})
            for [outcome] in await asyncio.gather(*appends):
                assert isinstance(outcome, ProducerClosed)
        assert stopping.cancelled()
        assert producer._sender.sender_task.done()
    finally:
        process.send_signal(signal.SIGCONT)
        broker.stop()
    gc.collect()
    assert unheard == []


async def test_a_producer_that_has_never_been_started_can_be_stopped_and_given_up(connection: KafkaConnection) -> None:
    producer = a_producer(connection)
    await producer._sender.give_up()
    await producer.stop()
