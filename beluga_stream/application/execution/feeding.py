"""What feeds a map over a stream: an execution that runs no handler, and ends with the next chunks that have come."""

import asyncio

from ...domain.events import NodeFailed, NodeSucceeded, StreamVoid
from ...domain.ids import Incarnation
from ...domain.payload import Payload, Stored, gather
from ...errors import BelugaError, LogUnavailable, StreamBroken
from ...ports.clock import Clock
from ..messages import Feed, NodeReady, Outcome
from ..payloads import Payloads
from .reports import about, failure_of
from .streams import Place, Streams

CHUNK_LIMIT_BYTES = 2 * 1024
"""A chunk above this goes to the blob store, so that a page of 64 stays small."""


async def fed(  # noqa: PLR0913 - it is called in one place
    work: NodeReady,
    feed: Feed,
    incarnation: Incarnation,
    *,
    streams: Streams,
    payloads: Payloads,
    place: Place,
    clock: Clock,
) -> Outcome:
    """Wait for chunks, and tell those that are there. Raises `LogUnavailable`.

    While it waits, its `place` may be another's.
    """
    source = work.arguments[0].stream
    assert source is not None, "a map is fed from a stream"
    try:
        chunks, over = await streams.next_chunks(work, source, place, start=feed.start, most=feed.most)
        kept = await asyncio.gather(*(_kept(payloads, work, chunk) for chunk in chunks))
    except StreamBroken:
        return StreamVoid(**about(work, incarnation, clock.now_ms()))
    except LogUnavailable:
        raise
    except BelugaError as error:
        why = failure_of(work, error)
        return NodeFailed(**about(work, incarnation, clock.now_ms()), failure=why.failure, retryable=why.retryable)
    return NodeSucceeded(**about(work, incarnation, clock.now_ms()), output=gather(kept), done=over)


async def _kept(payloads: Payloads, work: NodeReady, chunk: Payload) -> Payload:
    """The chunk as its item gets it."""
    if isinstance(chunk, Stored):
        return chunk
    return await payloads.store(work.root, await payloads.load(chunk), limit_bytes=CHUNK_LIMIT_BYTES)
