"""What handlers read of one another: streams, from the log or from a list of chunks that are all there.

The data is written once, in `beluga.run-results`; whoever reads, reads that, by the one tail that a process has of each
partition. A reader keeps a bounded number of records: one that is slow or late reads the log again from where it was.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from ...bounds import within
from ...domain.events import Source
from ...domain.ids import Incarnation
from ...domain.payload import Inline, Json, Payload
from ...errors import InvalidInput, NotFound, StreamBroken, TimedOut
from ...ports.log import Reader, Record
from .. import codec
from ..clients.tails import Tails
from ..messages import NodeReady
from ..payloads import Payloads
from .judging import first_of
from .readahead import ReadAhead, Reading
from .sequence import ChunkSequence

_BUFFERED = 2_048
_BUFFERED_BYTES = 1 << 20
"""Records of one reader that are kept for it, and bytes of them: more than one fetch brings."""

_IDLE_SECONDS = 1.0
"""How long a handler that waits for a chunk keeps its slot."""

_TOLD_WITHIN_SECONDS = 300.0
"""Longer than a coordinator takes to be replaced."""

Read = Callable[[], AsyncGenerator[Sequence[Json]]]
"""Reads chunks, as many at a time as are there."""


class HeldElsewhere(Exception):
    """Another execution holds the attempt."""


class Place(Protocol):
    """A handler's slot, which it need not hold while it waits."""

    def give_back(self) -> None:
        """Let another have it."""

    def take_again(self) -> Awaitable[None]:
        """Wait until it is held, which it may be."""


class ReadyStream:
    """A stream whose chunks are all there."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[Any]:
        for chunk in self._chunks:
            yield chunk


class LiveStream:
    """A stream that goes on. Each iteration reads it from its beginning.

    Iterating raises `InvalidInput` for a chunk that does not fit its type, and `StreamBroken` when its writer has
    failed or runs again; the engine then begins the reader again, or ends it.
    """

    def __init__(self, read: Read, adapter: TypeAdapter[Any], what: str) -> None:
        self._read = read
        self._adapter = adapter
        self._what = what

    async def __aiter__(self) -> AsyncIterator[Any]:
        number = 0
        validate = self._adapter.validate_python
        async with aclosing(self._read()) as batches:
            async for chunks in batches:
                for chunk in chunks:
                    try:
                        value = validate(chunk)
                    except ValidationError as error:
                        raise InvalidInput(
                            f"chunk {number} of {self._what} does not fit its type: {first_of(error)}"
                        ) from error
                    yield value
                    number += 1


class Live:
    """The value of an argument that is a stream that goes on: what reads it, for whatever type it is wanted as.

    `close` ends every reading that its handler has left open.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._open: list[AsyncGenerator[Sequence[Json]]] = []

    def typed(self, adapter: TypeAdapter[Any], what: str) -> LiveStream:
        """As a handler's parameter of this type; `what` names it in errors."""
        return LiveStream(self.read, adapter, what)

    def read(self) -> AsyncGenerator[Sequence[Json]]:
        """The chunks from the first on, in batches."""
        reading = self._read()
        self._open.append(reading)
        return reading

    async def whole(self) -> list[Json]:
        """All chunks, when there are no more to come."""
        async with aclosing(self.read()) as batches:
            return [chunk async for chunks in batches for chunk in chunks]

    async def close(self) -> None:
        """See the class."""
        for reading in self._open:
            with suppress(RuntimeError):  # a handler that was left behind is still reading it
                await reading.aclose()


class Streams:
    """The streams that this process reads."""

    def __init__(self, reader: Reader, topic: str, payloads: Payloads) -> None:
        self._reader = reader
        self._topic = topic
        self._payloads = payloads
        self._ahead = ReadAhead()
        self._tails = Tails(reader, topic, buffered=_BUFFERED, buffered_bytes=_BUFFERED_BYTES)

    def open(self, partitions: Iterable[int]) -> None:
        """Begin to follow these partitions, so that no handler that reads a stream there has to wait for that."""
        self._tails.open(partitions)

    async def close(self) -> None:
        """Read no more."""
        await self._tails.close()

    async def chunks(self, work: NodeReady, source: Source, place: Place) -> AsyncGenerator[Sequence[Json]]:
        """The stream's chunks as they come, to its end: each time all that are there.

        Raises `StreamBroken`, `NotFound` when retention has removed its beginning, and `LogUnavailable`.
        """
        sequence = ChunkSequence(work.root, source)
        async with aclosing(self._records(work, source)) as batches:
            while not sequence.over:
                records = await _next(batches, place)
                found, broken = await self._chunks_of(sequence, records)
                if found:
                    await place.take_again()
                    yield found
                if broken is not None:
                    raise broken
        await place.take_again()

    async def next_chunks(
        self, work: NodeReady, source: Source, place: Place, *, start: int, most: int
    ) -> tuple[list[Payload], bool]:
        """From the chunk numbered `start` on those that are there, at least one and at most so many.

        Also whether there are no more, and then there may be none. Raises as `chunks` does.
        """
        ready = self._ahead.chunks(work.root, source, start, most)
        if ready is not None:
            return ready
        read: list[tuple[Payload, int]] = []
        sequence, offset = self._ahead.reading(work.root, source, start)
        async with aclosing(self._records(work, source, offset)) as batches:
            while sequence.count <= start and not sequence.over:
                read, offset = _read(sequence, await _next(batches, place), offset)
                self._ahead.put(work.root, source, Reading(sequence, offset), read)
        await place.take_again()
        found = [chunk for chunk, _ in read[len(read) - max(0, sequence.count - start) :]][:most]
        return found, sequence.over and start + len(found) >= sequence.count

    async def _chunks_of(
        self, sequence: ChunkSequence, records: Sequence[Record]
    ) -> tuple[list[Json], StreamBroken | None]:
        """What these add to the stream, and how it broke off after that."""
        found: list[Json] = []
        for record in records:
            try:
                chunk = sequence.read(codec.results.decode(record.value))
            except StreamBroken as broken:
                return found, broken
            if chunk is not None:
                found.append(chunk.value if isinstance(chunk, Inline) else await self._payloads.load(chunk))
            if sequence.over:
                break
        return found, None

    async def emitted(
        self, work: NodeReady, source: Source, incarnation: Incarnation
    ) -> tuple[list[Json], Incarnation | None]:
        """What attempts before this one have emitted, and the last of them to do so; nothing, when it is gone.

        Waits until the log shows that this execution holds the attempt. Raises `HeldElsewhere` when another does,
        `TimedOut` when the log does not tell, and `LogUnavailable`.
        """
        sequence = ChunkSequence(work.root, source)
        found: list[Json] = []
        try:
            async with within(_TOLD_WITHIN_SECONDS), aclosing(self._records(work, source)) as batches:
                async for records in batches:
                    for record in records:
                        chunk = sequence.read(codec.results.decode(record.value))
                        if chunk is not None:
                            found.append(await self._payloads.load(chunk))
                        if sequence.shown < work.attempt or (
                            sequence.shown == work.attempt and sequence.holder is None
                        ):
                            continue
                        if (sequence.shown, sequence.holder) != (work.attempt, incarnation):
                            raise HeldElsewhere
                        return found, sequence.incarnation
        except NotFound:
            return [], None
        except TimeoutError as error:
            raise TimedOut(f"{self._topic} does not tell of {work.node}/{work.attempt}", run=work.run) from error
        raise AssertionError("a reading without an end ended")

    async def _records(
        self, work: NodeReady, source: Source, start: int | None = None
    ) -> AsyncGenerator[Sequence[Record]]:
        """Everything about the run from the stream's first chunk on, or from this offset."""
        key = work.key.encode()
        offset = source.offset if start is None else start
        follower = await self._tails.follow(source.partition, key, start=offset)
        try:
            if follower.since > offset:
                await self._check_kept(work, source, offset)
            async with aclosing(self._tails.records(source.partition, follower, offset)) as batches:
                async for records in batches:
                    if records is not None:
                        yield records
        finally:
            self._tails.leave(source.partition, follower)

    async def _check_kept(self, work: NodeReady, source: Source, offset: int) -> None:
        begin = (await self._reader.beginning(self._topic))[source.partition]
        if offset < begin:
            raise NotFound(
                f"the beginning of the stream of {source.node} is kept no longer: {self._topic}/{source.partition} "
                f"begins at {begin}, and it at {source.offset}",
                run=work.run,
                node=source.node,
            )


async def _next(batches: AsyncGenerator[Sequence[Record]], place: Place) -> Sequence[Record]:
    """What comes next. A handler that waits long for it lets another have its place."""
    idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, place.give_back)
    try:
        return await anext(batches)
    finally:
        idle.cancel()


def _read(sequence: ChunkSequence, records: Sequence[Record], offset: int) -> tuple[list[tuple[Payload, int]], int]:
    """What these add to the stream, each with its size in the log, and the offset after the last of them."""
    found: list[tuple[Payload, int]] = []
    for record in records:
        if sequence.over:
            break
        chunk = sequence.read(codec.results.decode(record.value))
        offset = record.offset + 1
        if chunk is not None:
            found.append((chunk, len(record.value or b"")))
    return found, offset
