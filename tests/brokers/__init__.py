"""The brokers that tests and benchmarks run against, and the choice among them.

`BELUGA_TEST_BROKER` chooses: an address (`127.0.0.1:9092`), or `docker`, `jars` or `embedded`. Without it the
best that is here: Apache Kafka in Docker through testcontainers, else the embedded broker.
`BELUGA_REQUIRE_KAFKA=1` makes it an error not to have Apache Kafka itself.
"""

from .answering import HOST, free_port
from .broker import Broker, BrokerUnavailable, Door, HarmableBroker
from .choice import start_broker
from .container import KafkaContainer
from .embedded import EmbeddedBroker
from .external import ExternalBroker
from .jars import JarKafka

__all__ = [
    "HOST",
    "Broker",
    "BrokerUnavailable",
    "Door",
    "EmbeddedBroker",
    "ExternalBroker",
    "HarmableBroker",
    "JarKafka",
    "KafkaContainer",
    "free_port",
    "start_broker",
]
