"""Places in streams where a reader has stopped, so that the next one need not read from the beginning.

Nothing depends on them: who finds none reads the stream from its first chunk.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from ..domain.events import Source
from ..domain.ids import RunId
from .sequence import ChunkSequence

_STREAMS = 512
"""Streams that are remembered, those used last."""

_OF_A_STREAM = 64
"""Places in one stream. More readers of it than that at once read some chunks twice."""

_Stream: TypeAlias = tuple[RunId, Source]


class Bookmark(NamedTuple):
    """How far a stream has been read, and the offset to go on from."""

    sequence: ChunkSequence
    offset: int


class Bookmarks:
    """Those of one process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Stream, OrderedDict[int, Bookmark]] = OrderedDict()

    def put(self, run: RunId, source: Source, sequence: ChunkSequence, offset: int) -> None:
        """Remember a place: this many chunks have been read, up to the record before this offset."""
        found = self._kept.setdefault((run, source), OrderedDict())
        self._kept.move_to_end((run, source))
        found[sequence.count] = Bookmark(copy.copy(sequence), offset)
        if len(found) > _OF_A_STREAM:
            found.popitem(last=False)
        if len(self._kept) > _STREAMS:
            self._kept.popitem(last=False)

    def find(self, run: RunId, source: Source, start: int) -> Bookmark:
        """The last place at or before this chunk."""
        found: Mapping[int, Bookmark] = self._kept.get((run, source), {})
        count = max((count for count in found if count <= start), default=None)
        if count is None:
            return Bookmark(ChunkSequence(run, source), source.offset)
        return Bookmark(copy.copy(found[count].sequence), found[count].offset)
