"""The choice among the brokers that this machine has."""

import os
from collections.abc import Mapping

from .broker import Broker, BrokerUnavailable
from .container import KafkaContainer
from .embedded import EmbeddedBroker
from .external import ExternalBroker
from .jars import JarKafka
from .trio import JarTrio


def start_broker(environ: Mapping[str, str] = os.environ, *, brief: bool = False) -> Broker:
    """The best broker there is, started; `brief` if it is for minutes. Raises `BrokerUnavailable` if that is none."""
    asked = environ.get("BELUGA_TEST_BROKER", "")
    real_only = environ.get("BELUGA_REQUIRE_KAFKA", "") not in {"", "0"}
    candidates: list[Broker]
    match asked:
        case "docker":
            candidates = [KafkaContainer(brief=brief)]
        case "jars":
            candidates = [JarKafka(brief=brief)]
        case "trio":
            candidates = [JarTrio(brief=brief)]
        case "embedded":
            candidates = [EmbeddedBroker()]
        case "":
            kafka = KafkaContainer(brief=brief)
            candidates = [kafka] if real_only else [kafka, EmbeddedBroker()]
        case address:
            candidates = [ExternalBroker(address)]
    reasons: list[str] = []
    for broker in candidates:
        if real_only and not broker.real:
            raise BrokerUnavailable(f"BELUGA_REQUIRE_KAFKA is set, and {broker.title} is not Apache Kafka")
        try:
            broker.start()
        except BrokerUnavailable as reason:
            reasons.append(str(reason))
            continue
        return broker
    raise BrokerUnavailable("; ".join(reasons))
