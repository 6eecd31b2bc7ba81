"""Events as a reader is given them: with the values of their chunks, and the time of their record."""

from collections.abc import Iterable
from dataclasses import replace

from ...domain.payload import Inline, Json
from ..payloads import Payloads
from .results import Chunk, Event, Refill


async def shown(payloads: Payloads, heard: Iterable[Event], at_ms: int) -> list[Event]:
    """These events with their values; chunks that were not shown in full are given one by one."""
    events: list[Event] = []
    for event in heard:
        if isinstance(event, Chunk):
            payload = event.value
            value = payload.value if isinstance(payload, Inline) else await payloads.load(payload)
            events.append(_chunk(event, at_ms, event.seq, value))
        elif isinstance(event, Refill):
            values = await payloads.load(event.output)
            events += [_chunk(event, at_ms, seq, value) for seq, value in enumerate(values)]
        else:
            events.append(replace(event, at_ms=at_ms))
    return events


def _chunk(of: Chunk | Refill, at_ms: int, seq: int, value: Json) -> Chunk:
    return Chunk(
        cursor=of.cursor,
        at_ms=at_ms,
        node=of.node,
        attempt=of.attempt,
        incarnation=of.incarnation,
        seq=seq,
        value=value,
    )
