"""A broker that does not hold fetches is asked less often while there is nothing; nothing comes later for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.fetch import FetchRequest

from beluga_stream.adapters.kafka import pacing
from beluga_stream.adapters.kafka.pacing import pace


class Sent:
    """What a consumer's client sends, counted, to a broker that answers as the test says."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.fetches = 0
        self.records: list[bytes] = []
        client: Any = consumer._client
        client.send = self.send

    async def send(self, node: int, request: Any, **more: Any) -> Any:
        self.fetches += isinstance(request, FetchRequest)
        return Answer(self.records.pop() if self.records else b"")


class Answer:
    def __init__(self, records: bytes) -> None:
        self.topics = [("t", [(0, 0, 0, records)])]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; each is over at once."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(pacing.asyncio, "sleep", sleep)
    return made


async def test_the_pauses_begin_after_a_while_and_end_with_what_comes(pauses: list[float]) -> None:
    consumer = AIOKafkaConsumer()
    sent = Sent(consumer)
    client: Any = pace(consumer)._client
    fetch = FetchRequest(60_000, 1, 1, 1, [])
    for _ in range(60):
        await client.send(0, fetch)
    assert pauses == [0.02] * 10, "the first fifty were asked without one"
    sent.records.append(b"something")
    for _ in range(50):
        await client.send(0, fetch)
    assert len(pauses) == 10
    await consumer.stop()


async def test_a_broker_that_holds_fetches_is_never_given_a_pause(pauses: list[float]) -> None:
    consumer = AIOKafkaConsumer()
    Sent(consumer)
    client: Any = pace(consumer)._client
    for _ in range(100):
        await client.send(0, FetchRequest(0, 1, 1, 1, []))  # so each answer took more than half of that
    assert pauses == []
    await consumer.stop()


@asynccontextmanager
async def following(broker: str, topic_prefix: str) -> AsyncIterator[tuple[AIOKafkaConsumer, str]]:
    topic = f"{topic_prefix}{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    consumer = pace(AIOKafkaConsumer(bootstrap_servers=broker, fetch_max_wait_ms=50))
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        yield consumer, topic
    finally:
        await consumer.stop()


async def test_what_comes_after_a_silence_is_read(broker: str, topic_prefix: str) -> None:
    """The client fetches through what is wrapped: a new version that does not would make this a lie."""
    async with following(broker, topic_prefix) as (consumer, topic):
        client: Any = consumer._client
        paced, fetches = client.send, 0

        async def counted(node: int, request: Any, **more: Any) -> Any:
            nonlocal fetches
            fetches += isinstance(request, FetchRequest)
            return await paced(node, request, **more)

        client.send = counted
        assert await consumer.getmany(timeout_ms=300) == {}
        assert fetches > 0
        producer = AIOKafkaProducer(bootstrap_servers=broker)
        await producer.start()
        try:
            await producer.send_and_wait(topic, b"late")
        finally:
            await producer.stop()
        async with asyncio.timeout(30):
            assert (await consumer.getone()).value == b"late"
