"""Streams of the local shell: the chunks of one run that goes on, for those who read them here."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ...domain.commands import Command, PublishNode, PublishRun
from ...domain.ids import Incarnation, NodeKey, RunId
from ...domain.payload import Json
from ...domain.retention import FINAL
from ...domain.state import NODE_ENDED, NodeStatus
from ...errors import StreamBroken
from ..execution.conversion import own


class _Stream:
    """The chunks of one stream so far. They are in memory anyway: together they are its node's output."""

    def __init__(self) -> None:
        self.incarnation: Incarnation | None = None
        self.chunks: list[Json] = []
        self.over = False
        self.broken = False
        self._came = asyncio.Event()

    def tell(self) -> None:
        """Let whoever waits look again."""
        self._came.set()
        self._came = asyncio.Event()

    async def wait(self) -> None:
        await self._came.wait()


class LocalStreams:
    """What the nodes of one run and its children stream, and read of one another."""

    def __init__(self) -> None:
        self._streams: dict[RunId, dict[NodeKey, _Stream]] = {}

    def add(self, run: RunId, node: NodeKey, incarnation: Incarnation, chunk: Json, *, resumed: bool) -> bool:
        """An execution has a chunk: a stream begins with it, or goes on. Whether it is the first of this execution."""
        stream = self._of(run, node)
        if stream is None or (stream.incarnation != incarnation and not resumed):
            self.end(run, node, broken=True)
            stream = self._streams.setdefault(run, {})[node] = _Stream()
        is_first = stream.incarnation != incarnation
        stream.incarnation = incarnation
        stream.chunks.append(chunk)
        stream.tell()
        return is_first

    def end(self, run: RunId, node: NodeKey, *, broken: bool) -> None:
        """The node has ended: with all that it had to say, or without."""
        stream = self._of(run, node)
        if stream is not None:
            stream.over, stream.broken = not broken, broken
            stream.tell()

    def heed(self, run: RunId, command: Command) -> None:
        """A status is told: with a node its stream ends, too, and with a run nobody is left who reads in it."""
        if isinstance(command, PublishNode) and command.status in NODE_ENDED:
            self.end(run, command.node, broken=command.status != NodeStatus.SUCCEEDED)
        elif isinstance(command, PublishRun) and command.status in FINAL:
            self._streams.pop(run, None)

    def emitted(self, run: RunId, node: NodeKey) -> tuple[list[Json], Incarnation | None]:
        """What the node has emitted so far, and in which execution last."""
        stream = self._of(run, node)
        return ([], None) if stream is None else ([own(chunk) for chunk in stream.chunks], stream.incarnation)

    async def next_chunks(self, run: RunId, node: NodeKey, *, start: int, most: int) -> tuple[list[Json], bool]:
        """Those from this one on that are there, at least one and at most so many; and whether there are no more.

        Raises `StreamBroken` when the stream is void.
        """
        async with aclosing(self.read(run, node, start)) as batches:
            async for chunks in batches:
                return list(chunks[:most]), False
        return [], True

    async def read(self, run: RunId, node: NodeKey, start: int = 0) -> AsyncGenerator[Sequence[Json]]:
        """The chunks of the stream that goes on now from this one on, in batches, to its end.

        Raises `StreamBroken` when it is void.
        """
        stream = self._of(run, node)
        if stream is None:
            raise StreamBroken(f"{node} runs again: its stream begins again", node=node)
        number = start
        while not stream.broken:
            while chunks := stream.chunks[number:]:
                yield [own(chunk) for chunk in chunks]
                number += len(chunks)
            if stream.over:
                return
            await stream.wait()
        raise StreamBroken(f"{node}, which writes this stream, has failed or runs again", node=node)

    def _of(self, run: RunId, node: NodeKey) -> _Stream | None:
        return self._streams.get(run, {}).get(node)
