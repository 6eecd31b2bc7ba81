"""What tests of the Kafka client have in common."""

import asyncio

import pytest

from beluga_stream.adapters.kafka.connection import KafkaConnection


@pytest.fixture
def connection(broker: str) -> KafkaConnection:
    return KafkaConnection.parse(broker)


@pytest.fixture
async def unheard() -> list[str]:
    """What went wrong and nobody was told of; to be looked at after `gc.collect()`."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    return told
