"""Several producers' batches in one request, and what each hears of it."""

import asyncio
import secrets
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from beluga_stream.adapters.kafka import courier as courier_module
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.courier import Courier
from beluga_stream.adapters.kafka.fence import FencedProducer
from beluga_stream.adapters.kafka.produce_packet import ProduceAnswer, ProducePacket
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.errors import Fenced
from beluga_stream.ports.log import Outgoing

Answer = asyncio.Future[ProduceAnswer]

PARTITIONS = 6


class Wire:
    """Takes requests, and answers when the test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[int], Answer]] = []

    def put(self, packet: ProducePacket) -> Answer:
        return self._put("first", packet)

    def other(self, packet: ProducePacket) -> Answer:
        return self._put("other", packet)

    def _put(self, by: str, packet: ProducePacket) -> Answer:
        answer: Answer = asyncio.get_running_loop().create_future()
        self.sent.append((by, [partition for _, partition in packet.targets], answer))
        return answer

    @property
    def partitions(self) -> list[list[int]]:
        return [partitions for _, partitions, _ in self.sent]


def batches(*partitions: int, size: int = 1) -> ProducePacket:
    return ProducePacket(-1, 1000, {"t": [(partition, b"x" * size) for partition in partitions]})


async def test_what_is_handed_over_in_one_turn_is_one_request_for_each_node() -> None:
    wire, courier = Wire(), Courier()
    answers = [
        courier.take(1, batches(0), wire.put),
        courier.take(2, batches(7), wire.other),
        courier.take(1, batches(1, 2), wire.other),
        courier.take(1, batches(3), wire.other),
    ]
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.partitions == [[0, 1, 2, 3], [7]]
    assert [by for by, _, _ in wire.sent] == ["first", "other"], "by the way of whoever came first"
    said = ProduceAnswer([])
    wire.sent[0][2].set_result(said)
    assert await asyncio.gather(answers[0], *answers[2:]) == [said] * 3
    assert not answers[1].done()
    later = courier.take(1, batches(4), wire.put)
    await asyncio.sleep(0)
    assert wire.partitions[2:] == [[4]]
    wire.sent[1][2].set_result(said)
    wire.sent[2][2].set_result(said)
    assert list(await asyncio.gather(answers[1], later)) == [said] * 2


async def test_two_batches_for_one_partition_are_never_in_one_request() -> None:
    """A broker would take one of them, and both would be told that it is there."""
    wire, courier = Wire(), Courier()
    for partitions in ((0,), (1,), (2, 1), (0,), (2,), (3,)):
        courier.take(1, batches(*partitions), wire.put)
    await asyncio.sleep(0)
    assert wire.partitions == [[0, 1], [2, 1, 0], [2, 3]]
    assert all(len(set(partitions)) == len(partitions) for partitions in wire.partitions)


async def test_what_is_too_large_for_one_request_is_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "_MOST_BYTES", 100)
    wire, courier = Wire(), Courier()
    for partition, size in enumerate((60, 40, 1, 500, 99, 1, 1)):
        courier.take(1, batches(partition, size=size), wire.put)
    await asyncio.sleep(0)
    assert wire.partitions == [[0, 1], [2], [3], [4, 5], [6]]


async def test_a_failure_is_everybodys_and_is_heard_by_all() -> None:
    wire, courier = Wire(), Courier()
    answers = [courier.take(1, batches(partition), wire.put) for partition in range(3)]
    await asyncio.sleep(0)
    wire.sent[0][2].set_exception(KafkaConnectionError("lost"))
    heard = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(each) for each in heard] == [KafkaConnectionError] * 3


async def test_a_request_that_cannot_be_put_on_its_way_fails_for_all_and_for_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier_module, "_MOST_BYTES", 2)
    wire, courier = Wire(), Courier()

    def breaks(_: ProducePacket) -> Answer:
        raise ValueError("no")

    answers = [courier.take(1, batches(partition), put) for partition, put in enumerate((breaks, wire.put, wire.put))]
    await asyncio.sleep(0)
    assert wire.partitions == [[2]]
    wire.sent[0][2].set_result(said := ProduceAnswer([]))
    heard = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(each) for each in heard[:2]] == [ValueError] * 2
    assert heard[2] is said


@pytest.mark.parametrize("gone", [0, 1])
async def test_one_that_was_cancelled_does_not_disturb_the_others(gone: int) -> None:
    wire, courier = Wire(), Courier()
    answers = [courier.take(1, batches(partition), wire.put) for partition in range(3)]
    answers[gone].cancel()
    await asyncio.sleep(0)
    answers[2].cancel()
    wire.sent[0][2].set_result(said := ProduceAnswer([]))
    assert await answers[1 - gone] is said
    assert answers[gone].cancelled()
    assert answers[2].cancelled()


# -------------------------------------------------------------------------------------- on a broker
async def values(connection: KafkaConnection, topic: str) -> dict[int, list[bytes | None]]:
    found: dict[int, list[bytes | None]] = {partition: [] for partition in range(PARTITIONS)}
    async with KafkaReader(connection) as reader:
        async for records in reader.read(topic, dict.fromkeys(range(PARTITIONS), 0), until=await reader.end(topic)):
            for record in records:
                found[record.partition].append(record.value)
    return found


async def started(connection: KafkaConnection, ids: Iterable[str], courier: Courier) -> list[FencedProducer]:
    producers = [FencedProducer(connection, each, courier=courier) for each in ids]
    await asyncio.gather(*(producer.start() for producer in producers))
    return producers


async def test_the_batches_of_several_producers_are_each_there_once_and_in_order(
    connection: KafkaConnection, topic: str
) -> None:
    run = secrets.token_hex(4)
    producers = await started(connection, [f"{run}-{number}" for number in range(PARTITIONS)], Courier())

    async def write(partition: int) -> None:
        for number in range(40):
            outgoing = [Outgoing(topic, b"k", b"%d.%d" % (number, part), partition=partition) for part in range(3)]
            positions = await producers[partition].append(outgoing)
            assert [position.offset for position in positions] == [3 * number + part for part in range(3)]

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*map(write, range(PARTITIONS)))
    finally:
        await asyncio.gather(*(producer.stop() for producer in producers))
    written = [b"%d.%d" % (number, part) for number in range(40) for part in range(3)]
    assert await values(connection, topic) == dict.fromkeys(range(PARTITIONS), written)


async def test_a_producer_that_stops_in_the_midst_of_it_takes_nothing_from_the_others(
    connection: KafkaConnection, topic: str
) -> None:
    """Theirs may be on the way over its connection."""
    run = secrets.token_hex(4)
    producers = await started(connection, [f"{run}-{number}" for number in range(PARTITIONS)], Courier())
    written: dict[int, list[bytes | None]] = {}

    async def write(partition: int) -> None:
        mine = written.setdefault(partition, [])
        for number in range(30 if partition else 10):
            await producers[partition].append([Outgoing(topic, b"k", b"%d" % number, partition=partition)])
            mine.append(b"%d" % number)
        await producers[partition].stop()

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*map(write, range(PARTITIONS)))
    finally:
        await asyncio.gather(*(producer.stop() for producer in producers))
    assert await values(connection, topic) == written


async def test_connections_that_are_lost_lose_nothing_and_double_nothing(
    connection: KafkaConnection, topic: str
) -> None:
    """Each that is lost takes several producers' batches with it, of which some have been written and some not."""
    run = secrets.token_hex(4)
    producers = await started(connection, [f"{run}-{number}" for number in range(PARTITIONS)], Courier())

    async def write(partition: int) -> None:
        for number in range(60):
            if number % 15 == partition:
                await asyncio.sleep(0)
                client: Any = producers[number % PARTITIONS]._producer.client  # type: ignore[union-attr]
                for each in client._conns.values():
                    if each._writer is not None:
                        each._writer.transport.abort()
            [position] = await producers[partition].append([Outgoing(topic, b"k", b"%d" % number, partition=partition)])
            assert position.offset == number

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*map(write, range(PARTITIONS)))
    finally:
        await asyncio.gather(*(producer.stop() for producer in producers))
    found = await values(connection, topic)
    assert found == {partition: [b"%d" % number for number in range(60)] for partition in range(PARTITIONS)}


async def test_one_that_is_fenced_hears_it_and_the_others_records_are_there(
    connection: KafkaConnection, topic: str, real_broker: str
) -> None:
    run = secrets.token_hex(4)
    courier = Courier()
    producers = await started(connection, [f"{run}-{number}" for number in range(PARTITIONS)], courier)
    [later] = await started(connection, [f"{run}-2"], courier)

    def one(partition: int, value: bytes) -> list[Outgoing]:
        return [Outgoing(topic, b"k", value, partition=partition)]

    try:
        async with asyncio.timeout(60):
            await later.append(one(2, b"later"))
            heard = await asyncio.gather(
                *(producer.append(one(number, b"old")) for number, producer in enumerate(producers)),
                later.append(one(2, b"latest")),
                return_exceptions=True,
            )
    finally:
        await asyncio.gather(*(producer.stop() for producer in (*producers, later)))
    assert [isinstance(each, Fenced) for each in heard] == [number == 2 for number in range(PARTITIONS)] + [False]
    assert not [each for each in heard if isinstance(each, BaseException) and not isinstance(each, Fenced)]
    found = await values(connection, topic)
    assert found == {number: [b"later", b"latest"] if number == 2 else [b"old"] for number in range(PARTITIONS)}
