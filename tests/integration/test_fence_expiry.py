"""A broker forgets ids that are in no transaction: not those of owners, which must stay fenced."""

import asyncio
from collections.abc import Iterator

import pytest

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.fence import FencedProducer
from beluga_stream.adapters.kafka.table import KafkaTables, TableOptions
from beluga_stream.errors import Fenced
from beluga_stream.ports.log import TopicSpec
from tests.brokers import Broker, JarKafka, KafkaContainer

pytestmark = pytest.mark.timeout(240)

GROUP = "role"
CHANGELOG = "changelog"
FORGETS_MS = 3_000


@pytest.fixture
def forgetful(started_broker: Broker) -> Iterator[KafkaConnection]:
    """A broker that forgets within seconds what others forget within a week."""
    if not isinstance(started_broker, JarKafka | KafkaContainer):
        pytest.skip(f"needs an Apache Kafka with settings of its own; this session runs on {started_broker.title}")
    expiry = {
        "transactional.id.expiration.ms": str(FORGETS_MS),
        "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
    }
    own = type(started_broker)(brief=True, settings=expiry)
    own.start()
    yield KafkaConnection.parse(own.address)
    own.stop()


def tables(connection: KafkaConnection, owner: str) -> KafkaTables:
    options = TableOptions(claim_interval=FORGETS_MS / 10 / 1000)
    return KafkaTables(connection, group=GROUP, topics=["in"], owner=owner, changelog=CHANGELOG, options=options)


async def has_forgotten(connection: KafkaConnection) -> None:
    """Return when the broker has forgotten an id that was initialised now. Each question is one about another id."""
    idle = [FencedProducer(connection, f"idle-{number}") for number in range(40)]
    try:
        for each in idle:
            await each.start()
        for each in idle:
            await asyncio.sleep(FORGETS_MS / 6 / 1000)  # the clock that counts is the broker's
            try:
                await each.renew(GROUP)
            except Fenced:
                return
        pytest.fail("it has forgotten none of them")
    finally:
        await asyncio.gather(*(each.stop() for each in idle))


async def test_an_owner_for_long_is_fenced_by_its_successor(forgetful: KafkaConnection) -> None:
    async with KafkaTopics(forgetful) as topics:
        await topics.ensure([TopicSpec(CHANGELOG, 1, {"cleanup.policy": "compact"}), TopicSpec("in", 1)])
    async with tables(forgetful, "old") as old, tables(forgetful, "new") as new:
        table = await old.open(0)
        await table.commit([("run", b"begun")])
        await has_forgotten(forgetful)
        await table.commit([("run", b"goes on")])
        later = await new.open(0)
        assert later.get("run") == b"goes on"
        await later.commit([("run", b"ended")])
        with pytest.raises(Fenced):
            await table.commit([("run", b"begun")])
        assert (await new.open(0)).get("run") == b"ended"
