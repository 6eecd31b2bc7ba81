"""What consumer groups have read: told, and set from outside before a group has members."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ...bounds import within
from ...errors import LogUnavailable
from .connection import KafkaConnection

_TIMEOUT_SECONDS = 30.0


async def skip_to_end(connection: KafkaConnection, group: str, topic: str, partitions: int) -> None:
    """Let the group begin behind all that the topic holds now.

    Raises `LogUnavailable`, also when the group has members already.
    """
    consumer = AIOKafkaConsumer(**connection.client_settings("skip"), group_id=group, enable_auto_commit=False)
    targets = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        async with within(_TIMEOUT_SECONDS):
            await consumer.start()
            consumer.assign(targets)
            await consumer.commit(await consumer.end_offsets(targets))
    except (KafkaError, TimeoutError, OSError) as error:
        raise LogUnavailable(f"group {group} cannot begin at the end of {topic}: {error!r}") from error
    finally:
        await consumer.stop()


class KafkaWorkers:
    """Port `Workers` on Kafka: the consumer group of this name."""

    def __init__(self, connection: KafkaConnection, group: str) -> None:
        self._connection = connection
        self._group = group

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        """See the port. It is asked seldom, so each time has a connection of its own."""
        admin = AIOKafkaAdminClient(**self._connection.client_settings("workers"))
        try:
            async with within(_TIMEOUT_SECONDS):
                await admin.start()
                if self._group not in [name for name, *_ in await admin.list_consumer_groups()]:
                    return {}  # and where there was never any group, nobody coordinates one
                found = await admin.list_consumer_group_offsets(self._group)
                return {target.partition: told.offset for target, told in found.items() if target.topic == topic}
        except (KafkaError, TimeoutError, OSError) as error:
            what = f"what {self._group} has acknowledged of {topic}"
            raise LogUnavailable(f"cannot read {what}: {error!r}") from error
        finally:
            await admin.close()
