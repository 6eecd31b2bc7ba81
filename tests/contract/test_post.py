"""What goes to the log at once, past every queue: it arrives as if it had waited in one, whatever comes in its way."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed, RequestTimedOutError

from beluga_stream.adapters.kafka.batches import MAX_RECORD_BYTES, begin, send_batches
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.produce_packet import ProduceAnswer, ProducePacket
from beluga_stream.adapters.kafka.producer import PatientProducer
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.ports.log import Outgoing, Position

PARTITIONS = 4
_NOT_LEADER, _TOO_LARGE = 6, 10


@pytest.fixture
async def producer(connection: KafkaConnection, topic: str) -> AsyncIterator[PatientProducer]:
    """One that knows where each partition is: nothing is in the way of a post."""
    made = PatientProducer(connection, "test", patience=30.0, max_record_bytes=MAX_RECORD_BYTES)
    await made.start()
    async with asyncio.timeout(30):
        await send_batches(made, [Outgoing(topic, b"k", b"first", partition=number) for number in range(PARTITIONS)])
    yield made
    await made.stop()


def post(producer: PatientProducer, topic: str, value: bytes = b"v", partition: int = 0) -> "asyncio.Future[list[Any]]":
    """Send one record, which must not have to wait."""
    accumulator: Any = producer._message_accumulator
    answered = begin(producer, [Outgoing(topic, b"k", value, partition=partition)], now=True)
    assert producer._sender._requests
    assert not accumulator._batches
    assert not accumulator._pending_batches
    return answered


async def written(connection: KafkaConnection, topic: str, partition: int = 0) -> list[bytes | None]:
    async with KafkaReader(connection) as reader:
        end = (await reader.end(topic))[partition]
        found: list[bytes | None] = []
        async for records in reader.read(topic, {partition: 0}, until={partition: end}):
            found += [record.value for record in records]
    return found


async def test_posts_and_what_waits_its_turn_arrive_once_and_in_order(
    connection: KafkaConnection, topic: str, producer: PatientProducer
) -> None:
    """Writers in each other's way: whether the next write is a post is left to who comes when."""

    async def write(partition: int) -> None:
        for number in range(100):
            records = [Outgoing(topic, b"k", b"%d" % number, partition=partition)]
            outcomes = await begin(producer, records, now=number % 3 != partition % 3)
            assert outcomes == [Position(topic, partition, 1 + number)]

    async with asyncio.timeout(60):
        await asyncio.gather(*map(write, range(PARTITIONS)))
    for partition in range(PARTITIONS):
        assert await written(connection, topic, partition) == [b"first", *(b"%d" % number for number in range(100))]


async def test_a_post_is_told_where_each_record_lies(topic: str, producer: PatientProducer) -> None:
    records = [Outgoing(topic, b"k", b"v", partition=number % 2) for number in range(6)]
    async with asyncio.timeout(30):
        assert await begin(producer, records, now=True) == [
            Position(topic, number % 2, 1 + number // 2) for number in range(6)
        ]
        assert await begin(producer, [], now=True) == []


@pytest.mark.parametrize("code", [_NOT_LEADER, _TOO_LARGE])
async def test_a_refused_post_is_judged_as_aiokafka_judges(
    connection: KafkaConnection,
    topic: str,
    producer: PatientProducer,
    unheard: list[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """What may pass is tried again under its old number, so that the broker knows it; the rest is told."""
    answer = ProducePacket.answer
    refused: list[int] = []

    def refuse_once(packet: ProducePacket, frame: bytes) -> ProduceAnswer:
        told = answer(packet, frame)
        if refused:
            return told
        refused.append(code)
        return ProduceAnswer(
            [(name, [(number, code, -1, -1, -1) for number, *_ in all_]) for name, all_ in told.topics]
        )

    monkeypatch.setattr(ProducePacket, "answer", refuse_once)
    async with asyncio.timeout(30):
        [outcome] = await post(producer, topic, b"second")
        [after] = await post(producer, topic, b"third")
    assert refused
    assert isinstance(outcome, Position if code == _NOT_LEADER else MessageSizeTooLargeError)
    assert after == Position(topic, 0, 2)
    # The fake refusal came from a broker that has written it.
    assert await written(connection, topic) == [b"first", b"second", b"third"]
    gc.collect()
    assert unheard == []


async def test_posts_that_are_refused_or_not_answered_are_sent_again_in_order(
    connection: KafkaConnection, topic: str, producer: PatientProducer, unheard: list[str]
) -> None:
    """What follows waits for it; what was written already is not written twice."""
    exchange: Any = producer.client.send.__self__
    on_its_way = exchange.begin
    script = itertools.cycle(["refused", "well", "lost"])

    def begins(node: int, way: Any, packet: ProducePacket) -> "asyncio.Future[Any]":
        word = next(script)
        if word == "well":
            return on_its_way(node, way, packet)  # type: ignore[no-any-return]
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if word == "refused":
            refused = [(name, number, _NOT_LEADER) for name, number in packet.targets]
            nobodys = ("another producer's", [(0, 0, 7, -1, 0)])
            answer.set_result(
                ProduceAnswer([nobodys, *((name, [(number, code, -1, -1, -1)]) for name, number, code in refused)])
            )
        else:
            on_its_way(node, way, packet).add_done_callback(
                lambda sent: answer.set_exception(RequestTimedOutError(repr(sent.result())))
            )
        return answer

    exchange.begin = begins
    async with asyncio.timeout(60):
        for number in range(9):
            sent = post(producer, topic, b"%d" % number)
            behind = begin(producer, [Outgoing(topic, b"k", b"behind %d" % number, partition=0)], now=True)
            assert await sent == [Position(topic, 0, 1 + 2 * number)]
            assert await behind == [Position(topic, 0, 2 + 2 * number)]
    values = [value for number in range(9) for value in (b"%d" % number, b"behind %d" % number)]
    assert await written(connection, topic) == [b"first", *values]
    sender = producer._sender
    assert not any((sender._requests, sender._in_flight, sender._muted_partitions))
    gc.collect()
    assert unheard == []


async def test_a_post_whose_connection_is_lost_arrives_once(
    connection: KafkaConnection, topic: str, producer: PatientProducer, unheard: list[str]
) -> None:
    async with asyncio.timeout(30):
        sent = post(producer, topic, b"second")
        for each in list(producer.client._conns.values()):
            each.close()
        behind = begin(producer, [Outgoing(topic, b"k", b"third", partition=0)], now=True)
        assert await sent == [Position(topic, 0, 1)]
        assert await behind == [Position(topic, 0, 2)]
    assert await written(connection, topic) == [b"first", b"second", b"third"]
    gc.collect()
    assert unheard == []


async def test_a_producer_that_stops_waits_for_its_posts(
    connection: KafkaConnection, topic: str, producer: PatientProducer
) -> None:
    sent = post(producer, topic, b"second")
    async with asyncio.timeout(30):
        await producer.stop()
        assert await sent == [Position(topic, 0, 1)]
        [late] = await begin(producer, [Outgoing(topic, b"k", b"late", partition=0)], now=True)
    assert isinstance(late, ProducerClosed)
    assert await written(connection, topic) == [b"first", b"second"]


async def test_a_producer_that_is_given_up_tells_of_its_posts(
    topic: str, producer: PatientProducer, unheard: list[str]
) -> None:
    sent = post(producer, topic)
    async with asyncio.timeout(30):
        await producer._sender.give_up()
        [outcome] = await sent
        [after] = await begin(producer, [Outgoing(topic, b"k", b"late", partition=0)], now=True)
    assert isinstance(outcome, ProducerClosed)
    assert isinstance(after, ProducerClosed)
    gc.collect()
    assert unheard == []


async def test_what_cannot_be_packed_ends_the_producer_and_is_told(
    topic: str, producer: PatientProducer, unheard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: ProducePacket) -> bytes:
        raise ValueError("what is this")

    monkeypatch.setattr(ProducePacket, "body", breaks)
    async with asyncio.timeout(30):
        [outcome] = await begin(producer, [Outgoing(topic, b"k", b"v", partition=0)], now=True)
        [after] = await begin(producer, [Outgoing(topic, b"k", b"v", partition=1)], now=True)
    for each in (outcome, after):
        assert isinstance(each, KafkaError)
        assert "what is this" in str(each)
    gc.collect()
    assert unheard == []


async def test_who_no_longer_wants_to_know_disturbs_nobody(
    connection: KafkaConnection, topic: str, producer: PatientProducer, unheard: list[str]
) -> None:
    async with asyncio.timeout(30):
        post(producer, topic, b"second").cancel()
        assert await begin(producer, [Outgoing(topic, b"k", b"third", partition=0)], now=True) == [
            Position(topic, 0, 2)
        ]
    assert await written(connection, topic) == [b"first", b"second", b"third"]
    gc.collect()
    assert unheard == []
