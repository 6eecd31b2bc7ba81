"""What workers have acknowledged, as the broker knows it."""

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.groups import KafkaWorkers, skip_to_end
from beluga_stream.ports.log import Outgoing, TopicSpec


async def test_the_furthest_of_the_groups_of_workers_counts(broker: str, topic_prefix: str) -> None:
    connection = KafkaConnection.parse(broker, request_timeout=5.0)
    queue, other = f"{topic_prefix}queue", f"{topic_prefix}other"
    workers = KafkaWorkers(connection, f"{topic_prefix}worker")
    async with KafkaTopics(connection) as topics, KafkaAppender(connection) as appender:
        await topics.ensure([TopicSpec(queue, 2), TopicSpec(other, 1)])
        assert await workers.acknowledged(queue) == {}
        await appender.append([Outgoing(queue, None, b"work", partition=1)] * 3)
        await skip_to_end(connection, f"{topic_prefix}worker.gpu", queue, 2)
        await appender.append([Outgoing(queue, None, b"work", partition=number) for number in (0, 1, 1)])
        await skip_to_end(connection, f"{topic_prefix}worker", queue, 1)
        await skip_to_end(connection, f"{topic_prefix}worker-of-another", queue, 2)
        await skip_to_end(connection, f"{topic_prefix}worker", other, 1)
        assert await workers.acknowledged(queue) == {0: 1, 1: 3}
