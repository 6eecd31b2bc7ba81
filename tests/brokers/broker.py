"""What every broker of a test session can do, and what one of our own can be made to suffer."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class BrokerUnavailable(Exception):
    """This kind of broker cannot be had on this machine; the message says why."""


class Broker(Protocol):
    """A broker that a session starts, uses and stops."""

    real: bool
    """Whether it is Apache Kafka itself."""

    @property
    def address(self) -> str:
        """`host:port` for clients on this machine."""

    @property
    def title(self) -> str:
        """What it is, in a line of the test report."""

    def start(self) -> None:
        """Return when it answers. Raises `BrokerUnavailable`."""

    def stop(self) -> None:
        """Leave nothing behind. May be called when it never started."""


@runtime_checkable
class HarmableBroker(Broker, Protocol):
    """A broker of our own: what it holds survives whatever is done to it, and each method waits for the outcome."""

    def restart(self) -> None:
        """Stop it cleanly and start it again with what it had, as an upgrade of a broker does."""

    def crash(self) -> None:
        """`kill -9`, and start it again with what it had."""

    def down(self) -> None:
        """Stop it cleanly: connections are refused."""

    def up(self) -> None:
        """Start it again with what it had."""

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nothing is answered."""

    def resume(self) -> None:
        """Let it go on."""


class ClusterNode(HarmableBroker, Protocol):
    """One node of several, which have copies of what it holds."""

    def lose(self) -> None:
        """`kill -9`, and start it again with an empty disk."""


@runtime_checkable
class BrokerCluster(Broker, Protocol):
    """Several nodes of our own, of which each partition has its replicas on three."""

    @property
    def nodes(self) -> Sequence[ClusterNode]:
        """Each can be harmed by itself."""


class Door(Protocol):
    """Another listener of a broker, with settings of its own; tests/secured.py has one that asks who is there."""

    port: int

    def added_to(self, settings: dict[str, str], host: str) -> dict[str, str]:
        """The broker's settings with this listener among them, bound to `host`."""
