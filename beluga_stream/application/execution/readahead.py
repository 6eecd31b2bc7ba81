"""What has been read of streams for maps: the chunks that the next reader will want, and where to go on after them.

Every page of a map reads its slice of the stream by itself, one after the other, and a fetch brings many slices at
once. Nothing depends on what is kept here: a page that finds nothing reads the stream from its first chunk.
"""

import copy
from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple, TypeAlias

from ...domain.events import Source
from ...domain.ids import RunId
from ...domain.payload import Payload
from .sequence import ChunkSequence

_STREAMS = 64
"""Streams of which something is kept, those read last."""

_CHUNKS = 2_048
_CHUNKS_BYTES = 512 * 1024
"""Chunks of one stream, and bytes of them."""

_Stream: TypeAlias = tuple[RunId, Source]


class Reading(NamedTuple):
    """A stream as far as it has been read, and the offset to go on from."""

    sequence: ChunkSequence
    offset: int


class _Kept:
    """The last chunks of one stream that were read, in a row up to where the reading has come."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.chunks: deque[tuple[Payload, int]] = deque()
        self.bytes = 0

    @property
    def first(self) -> int:
        return self.reading.sequence.count - len(self.chunks)

    def add(self, reading: Reading, chunks: Iterable[tuple[Payload, int]]) -> None:
        self.reading = reading
        for chunk in chunks:
            self.chunks.append(chunk)
            self.bytes += chunk[1]
        while len(self.chunks) > _CHUNKS or self.bytes > _CHUNKS_BYTES:
            self.bytes -= self.chunks.popleft()[1]


class ReadAhead:
    """That of one process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Stream, _Kept] = OrderedDict()

    def chunks(self, run: RunId, source: Source, start: int, most: int) -> tuple[list[Payload], bool] | None:
        """Chunks from the one numbered `start` on, and whether there are no more; None when they are not here."""
        kept = self._kept.get((run, source))
        if kept is None or start < kept.first:
            return None
        end, over = kept.reading.sequence.count, kept.reading.sequence.over
        if start >= end and not over:
            return None
        self._kept.move_to_end((run, source))
        at = start - kept.first
        found = [chunk for chunk, _ in islice(kept.chunks, at, at + most)]
        return found, over and start + len(found) >= end

    def reading(self, run: RunId, source: Source, start: int) -> Reading:
        """From where to read on to come to this chunk."""
        kept = self._kept.get((run, source))
        if kept is None or kept.reading.sequence.count > start:
            return Reading(ChunkSequence(run, source), source.offset)
        return Reading(copy.copy(kept.reading.sequence), kept.reading.offset)

    def put(self, run: RunId, source: Source, reading: Reading, chunks: list[tuple[Payload, int]]) -> None:
        """These are the last that have been read, with their sizes in bytes."""
        reading = Reading(copy.copy(reading.sequence), reading.offset)
        kept = self._kept.get((run, source))
        news = len(chunks) if kept is None else reading.sequence.count - kept.reading.sequence.count
        if kept is not None and kept.reading.offset >= reading.offset and kept.first <= reading.sequence.count:
            return  # another has read as far
        if kept is None or not 0 <= news <= len(chunks):
            kept, news = _Kept(reading), len(chunks)
            self._kept[run, source] = kept
        kept.add(reading, chunks[len(chunks) - news :])
        self._kept.move_to_end((run, source))
        if len(self._kept) > _STREAMS:
            self._kept.popitem(last=False)
