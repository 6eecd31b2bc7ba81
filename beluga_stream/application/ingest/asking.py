"""Ingest as a dry run: it says what it would do with an event, and does nothing. For trials and backfills."""

from collections.abc import Sequence

from ...ports.clock import Clock
from ...ports.handlers import Deployment
from ...ports.log import Outgoing, Position
from ..payloads import Payloads
from ..topics import Topics
from .ingest import Ingest


class _Nowhere:
    """The port `Appender` of an ingest that sends nothing."""

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        raise AssertionError("it is asked, and sends nothing")


def asked(deployment: Deployment, *, topics: Topics, payloads: Payloads, clock: Clock) -> Ingest:
    """An ingest for its `answer` alone."""
    return Ingest(topics=topics, deployment=deployment, appender=_Nowhere(), payloads=payloads, clock=clock)
