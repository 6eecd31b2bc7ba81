"""What could not be accepted, kept with the reason and where it came from."""

from ..errors import BelugaError
from ..ports.log import Outgoing, Record

REASON = "beluga-reason"
MESSAGE = "beluga-message"
SOURCE = "beluga-source"
_SAID_BYTES = 2_000


def dead_letter(topic: str, record: Record, error: BelugaError) -> Outgoing:
    """The record as it came, with the reason and its source (topic/partition/offset) in headers."""
    source = f"{record.topic}/{record.partition}/{record.offset}"
    return Outgoing(
        topic,
        record.key or source.encode(),
        record.value,
        (
            *record.headers,
            (REASON, error.code.encode()),
            (MESSAGE, str(error).encode()[:_SAID_BYTES]),
            (SOURCE, source.encode()),
        ),
    )
