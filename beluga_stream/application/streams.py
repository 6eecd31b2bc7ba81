"""What handlers read of one another: streams, from the log or from a list of chunks that are all there.

The data is written once, in `beluga.run-results`; whoever reads, reads that, by the one tail that a process has of each
partition. A reader keeps a bounded number of records: one that is slow or late reads the log again from where it was.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from ..domain.ids import Incarnation
from ..domain.payload import Json
from ..errors import InvalidInput, NotFound, TimedOut
from ..ports.log import Reader
from . import codec
from .judging import first_of
from .messages import NodeReady, Result, Source
from .payloads import Payloads
from .sequence import ChunkSequence
from .tails import Tails

_BUFFERED = 512
"""Records of one reader that are kept for it."""

_IDLE_SECONDS = 1.0
"""How long a handler that waits for a chunk keeps its slot."""

_TOLD_WITHIN_SECONDS = 300.0
"""Longer than a coordinator takes to be replaced."""

Read = Callable[[], AsyncGenerator[Json]]


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
        async with aclosing(self._read()) as chunks:
            async for chunk in chunks:
                try:
                    value = self._adapter.validate_python(chunk)
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
        self._open: list[AsyncGenerator[Json]] = []

    def typed(self, adapter: TypeAdapter[Any], what: str) -> LiveStream:
        """It as a handler's parameter."""
        return LiveStream(self.read, adapter, what)

    def read(self) -> AsyncGenerator[Json]:
        """The chunks from the first on."""
        reading = self._read()
        self._open.append(reading)
        return reading

    async def whole(self) -> list[Json]:
        """All chunks, when there are no more to come."""
        async with aclosing(self.read()) as chunks:
            return [chunk async for chunk in chunks]

    async def close(self) -> None:
        """See the class."""
        for reading in self._open:
            with suppress(RuntimeError):  # somebody who was left behind is still in it
                await reading.aclose()


class Streams:
    """The streams that this process reads."""

    def __init__(self, reader: Reader, topic: str, payloads: Payloads) -> None:
        self._reader = reader
        self._topic = topic
        self._payloads = payloads
        self._tails = Tails(reader, topic, buffered=_BUFFERED)

    async def close(self) -> None:
        """Read no more."""
        await self._tails.close()

    async def chunks(self, work: NodeReady, source: Source, place: Place) -> AsyncGenerator[Json]:
        """The stream's chunks as they come, to its end.

        Raises `StreamBroken`, `NotFound` when retention has removed its beginning, and `LogUnavailable`.
        """
        sequence = ChunkSequence(work.root, source)
        loop = asyncio.get_running_loop()
        async with aclosing(self._records(work, source)) as records:
            while not sequence.over:
                idle = loop.call_later(_IDLE_SECONDS, place.give_back)
                try:
                    record = await anext(records)
                finally:
                    idle.cancel()
                chunk = sequence.read(record)
                if chunk is not None:
                    value = await self._payloads.load(chunk)
                    await place.take_again()
                    yield value
        await place.take_again()

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
            async with asyncio.timeout(_TOLD_WITHIN_SECONDS), aclosing(self._records(work, source)) as records:
                async for record in records:
                    chunk = sequence.read(record)
                    if chunk is not None:
                        found.append(await self._payloads.load(chunk))
                    if sequence.shown < work.attempt or (sequence.shown == work.attempt and sequence.holder is None):
                        continue
                    if (sequence.shown, sequence.holder) != (work.attempt, incarnation):
                        raise HeldElsewhere
                    break
        except NotFound:
            return [], None
        except TimeoutError as error:
            raise TimedOut(f"{self._topic} does not tell of {work.node}/{work.attempt}", run=work.run) from error
        return found, sequence.incarnation

    async def _records(self, work: NodeReady, source: Source) -> AsyncGenerator[Result]:
        """Everything about the run from the stream's first chunk on."""
        key = work.key.encode()
        follower = await self._tails.follow(source.partition, key, start=source.offset)
        try:
            if follower.since > source.offset:
                await self._check_kept(work, source)
            async with aclosing(self._tails.records(source.partition, follower, source.offset)) as records:
                async for record in records:
                    if record is not None:
                        yield codec.results.decode(record.value)
        finally:
            self._tails.leave(source.partition, follower)

    async def _check_kept(self, work: NodeReady, source: Source) -> None:
        begin = (await self._reader.beginning(self._topic))[source.partition]
        if source.offset < begin:
            raise NotFound(
                f"the beginning of the stream of {source.node} is kept no longer: {self._topic}/{source.partition} "
                f"begins at {begin}, and it at {source.offset}",
                run=work.run,
                node=source.node,
            )
