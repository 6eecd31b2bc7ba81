"""What tests of the Kafka client have in common."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.ports.log import TopicSpec


@pytest.fixture
def connection(broker: str) -> KafkaConnection:
    return KafkaConnection.parse(broker)


@pytest.fixture
async def topic(request: pytest.FixtureRequest, connection: KafkaConnection, topic_prefix: str) -> str:
    """A topic that nobody else has, with as many `PARTITIONS` as the test's module says."""
    name = f"{topic_prefix}log"
    async with KafkaTopics(connection) as topics:
        await topics.ensure([TopicSpec(name, request.module.PARTITIONS)])
    return name


@pytest.fixture
async def producer(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    """Not the engine's, but aiokafka's own."""
    made = AIOKafkaProducer(bootstrap_servers=broker)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def unheard() -> list[str]:
    """What went wrong and nobody was told of; to be looked at after `gc.collect()`."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    return told
