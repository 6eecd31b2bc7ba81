"""What a consumer group has read, set from outside, before the group has members."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.errors import LogUnavailable

_TIMEOUT_SECONDS = 30.0


async def skip_to_end(connection: KafkaConnection, group: str, topic: str, partitions: int) -> None:
    """Let the group begin behind all that the topic holds now.

    Raises `LogUnavailable`, also when the group has members already.
    """
    consumer = AIOKafkaConsumer(**connection.client_settings("skip"), group_id=group, enable_auto_commit=False)
    targets = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await consumer.start()
            consumer.assign(targets)
            await consumer.commit(await consumer.end_offsets(targets))
    except (KafkaError, TimeoutError, OSError) as error:
        raise LogUnavailable(f"group {group} cannot begin at the end of {topic}: {error!r}") from error
    finally:
        await consumer.stop()
