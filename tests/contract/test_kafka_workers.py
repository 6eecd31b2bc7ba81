"""What workers have acknowledged, as the broker knows it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.groups import KafkaWorkers, skip_to_end
from beluga_stream.adapters.kafka.membership import Membership, memberships
from beluga_stream.ports.log import Outgoing, TopicSpec


async def test_what_the_group_has_acknowledged_of_a_topic(broker: str, topic_prefix: str) -> None:
    connection = KafkaConnection.parse(broker, request_timeout=5.0)
    queue, other = f"{topic_prefix}queue", f"{topic_prefix}other"
    workers = KafkaWorkers(connection, f"{topic_prefix}worker")
    async with KafkaTopics(connection) as topics, KafkaAppender(connection) as appender:
        await topics.ensure([TopicSpec(queue, 2), TopicSpec(other, 1)])
        assert await workers.acknowledged(queue) == {}
        await appender.append([Outgoing(queue, None, b"work", partition=1)] * 3)
        await skip_to_end(connection, f"{topic_prefix}worker", queue, 2)
        await appender.append([Outgoing(queue, None, b"work", partition=number) for number in (0, 1, 1)])
        await skip_to_end(connection, f"{topic_prefix}worker", queue, 1)
        await skip_to_end(connection, f"{topic_prefix}worker-of-another", queue, 2)
        await skip_to_end(connection, f"{topic_prefix}worker", other, 1)
        assert await workers.acknowledged(queue) == {0: 1, 1: 3}


async def test_members_of_groups_are_counted_with_what_they_read(broker: str, topic_prefix: str) -> None:
    connection = KafkaConnection.parse(broker, request_timeout=5.0)
    queue, other = f"{topic_prefix}queue", f"{topic_prefix}other"
    role, absent = f"{topic_prefix}worker", f"{topic_prefix}ingest"
    async with KafkaTopics(connection) as topics:
        await topics.ensure([TopicSpec(queue, 1), TopicSpec(other, 1)])
        assert await memberships(connection, [role]) == {role: Membership(0, frozenset())}
        async with joined(connection, role, queue, other):
            found = await memberships(connection, [role, absent])
    assert found == {role: Membership(1, frozenset({queue, other})), absent: Membership(0, frozenset())}


@asynccontextmanager
async def joined(connection: KafkaConnection, group: str, *topics: str) -> AsyncIterator[None]:
    """A member of the group, once it has its partitions."""
    settings = connection.client_settings("member")
    consumer = AIOKafkaConsumer(*topics, **settings, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=100)
        yield
    finally:
        await consumer.stop()
