"""Message buses, wired: in this process, or over Kafka by settings."""

from ..adapters.memory.bus import MemoryCarrier
from ..adapters.otel.traces import OtelTraces
from ..api.bus import MessageBus
from ..ports.spans import Spans
from .settings import Settings

_HOUR_MS = 3_600_000


def local_bus(*, queue_size: int = 1_000, spans: Spans | None = None) -> MessageBus:
    """A message bus in this process: no broker, and nothing outlives the process.

    Each subscriber and group has a queue of `queue_size` messages; when it is full, publishers wait.
    """
    return MessageBus(MemoryCarrier(queue_size), OtelTraces(), spans)


def kafka_bus(
    address: str | None = None, *, settings: Settings | None = None, spans: Spans | None = None
) -> MessageBus:
    """A message bus over the Kafka at `address` (default: the settings'), on the topic `beluga.bus`.

    Raises `InvalidConfig` for wrong settings.
    """
    from ..adapters.kafka.bus import KafkaCarrier  # noqa: PLC0415 - only who asks for it loads the broker's client
    from .connection import kafka, topics  # noqa: PLC0415
    from .encryption import payloads_of  # noqa: PLC0415

    chosen = settings or Settings.load(**({} if address is None else {"broker": address}))
    names = topics(chosen)
    retention_ms = int(chosen.retention_hours * _HOUR_MS)
    specs = {spec.name: spec for spec in names.specs((), replication=chosen.replication, retention_ms=retention_ms)}
    carrier = KafkaCarrier(
        kafka(chosen),
        (specs[names.bus], specs[names.dead_letters]),
        payloads_of(chosen),
        session_seconds=chosen.session_timeout_seconds,
    )
    return MessageBus(carrier, OtelTraces(), spans)
