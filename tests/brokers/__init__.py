"""The brokers that tests and benchmarks run against, and the choice among them.

`BELUGA_TEST_BROKER` chooses: an address (`127.0.0.1:9092`), or `docker`, `jars`, `trio` (three nodes, from the jars)
or `embedded`. Without it the best that is here: Apache Kafka in Docker through testcontainers, else the embedded
broker.
`BELUGA_REQUIRE_KAFKA=1` makes it an error not to have Apache Kafka itself.
"""

from .answering import HOST, free_port
from .broker import Broker, BrokerCluster, BrokerUnavailable, ClusterNode, Door, HarmableBroker
from .choice import start_broker
from .container import KafkaContainer
from .embedded import EmbeddedBroker
from .external import ExternalBroker
from .jars import JarKafka
from .trio import JarTrio

__all__ = [
    "HOST",
    "Broker",
    "BrokerCluster",
    "BrokerUnavailable",
    "ClusterNode",
    "Door",
    "EmbeddedBroker",
    "ExternalBroker",
    "HarmableBroker",
    "JarKafka",
    "JarTrio",
    "KafkaContainer",
    "free_port",
    "start_broker",
]
