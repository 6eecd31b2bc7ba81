"""A broker whose address the environment gives."""

from .answering import answers
from .broker import BrokerUnavailable


class ExternalBroker:
    """Somebody else's broker: used, never stopped."""

    real = True

    def __init__(self, address: str) -> None:
        self.address = address
        self.title = "the broker of BELUGA_TEST_BROKER"

    def start(self) -> None:
        if not answers(self.address):
            raise BrokerUnavailable(f"no Kafka broker answers at {self.address}")

    def stop(self) -> None:
        return
