"""What tests of whole engines have in common."""

from collections.abc import AsyncIterator, Iterator

import pytest

from beluga_stream import Client
from tests.brokers import Broker, HarmableBroker, JarKafka, KafkaContainer
from tests.engine import Engine, connected


@pytest.fixture
def own_broker(started_broker: Broker) -> Iterator[HarmableBroker]:
    """A broker of one test's, of the session's kind, since the session's must stay well."""
    if not isinstance(started_broker, JarKafka | KafkaContainer):
        pytest.skip(f"needs an Apache Kafka that can be killed; this session runs on {started_broker.title}")
    own = type(started_broker)()
    own.start()
    yield own
    own.stop()


@pytest.fixture
async def client(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of the module's `engine`."""
    async with connected(engine, monkeypatch) as client:
        yield client
