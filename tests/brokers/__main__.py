"""`python -m tests.brokers jars`: Apache Kafka without Docker, until Ctrl-C; or trio, docker, embedded."""

import signal
import sys

from .broker import Broker, BrokerUnavailable
from .container import KafkaContainer
from .embedded import EmbeddedBroker
from .jars import JarKafka
from .trio import JarTrio


def _main() -> None:
    """Run one kind of broker until Ctrl-C or SIGTERM."""
    kinds = {"docker": KafkaContainer, "jars": JarKafka, "trio": JarTrio, "embedded": EmbeddedBroker}
    kind = kinds.get(sys.argv[1] if len(sys.argv) > 1 else "jars")
    if kind is None:
        sys.exit(f"usage: python -m tests.brokers [{'|'.join(kinds)}]")
    broker: Broker = kind()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broker.start()
        print(f"{broker.title} at {broker.address} (Ctrl-C stops it)", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print()
    except BrokerUnavailable as reason:
        sys.exit(str(reason))
    finally:
        broker.stop()


if __name__ == "__main__":
    _main()
