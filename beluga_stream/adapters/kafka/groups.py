"""What consumer groups have read: told, and set from outside before a group has members."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.errors import LogUnavailable

from ...bounds import within

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
    """Port `Workers` on Kafka: the group `name`, and of workers those of single queues, `name.queue`."""

    def __init__(self, connection: KafkaConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        """See the port. It is asked seldom, so each time has a connection of its own."""
        admin = AIOKafkaAdminClient(**self._connection.client_settings("workers"))
        try:
            async with within(_TIMEOUT_SECONDS):
                await admin.start()
                furthest: dict[int, int] = {}
                for group, *_ in await admin.list_consumer_groups():
                    if group == self._name or group.startswith(f"{self._name}."):
                        for target, found in (await admin.list_consumer_group_offsets(group)).items():
                            if target.topic == topic:
                                number = target.partition
                                furthest[number] = max(furthest.get(number, 0), found.offset)
                return furthest
        except (KafkaError, TimeoutError, OSError) as error:
            what = f"what {self._name} has acknowledged of {topic}"
            raise LogUnavailable(f"cannot read {what}: {error!r}") from error
        finally:
            await admin.close()
