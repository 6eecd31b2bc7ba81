"""Following a run: its stream as events, from its beginning, after a cursor or from now on, up to its end.

A run that is started here is followed from that moment on, so that its first reader need not look for it in the log.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace

from ...bounds import within
from ...domain.ids import RunId, key_of
from ...errors import Expired
from ...ports.log import Reader, Record
from .. import codec
from ..messages import Progress, Rejected, Result
from ..payloads import Payloads
from .answer import Asked
from .cursor import LIVE, Cursor
from .ending import Ending
from .follower import Follower
from .inner import RunStream
from .results import Event
from .shown import shown
from .summaries import Summaries
from .tails import Tails

FOLLOWED_FROM_START = 10_000
"""Most runs followed from their start on that nobody reads yet; older ones are read from the log."""

_STARTED_EARLIER_MS = 60_000
"""By how much a run's first record may be older than its summary says: the clocks of coordinators differ."""

_BEGINS_WITHIN_SECONDS = 2.0
"""How long the first record of a run that was started under a key is waited for; then the log is read."""


@dataclass(frozen=True, slots=True)
class _Mine:
    """A run that was started here and is followed from then on. `fresh` ones nobody can have started before."""

    follower: Follower
    digest: str
    fresh: bool


class _Heard:
    """What somebody has heard of one run's stream so far."""

    def __init__(self, run: RunId, partition: int, payloads: Payloads, after: Cursor | None, asked: Asked) -> None:
        self._stream = RunStream(run)
        self._partition = partition
        self._payloads = payloads
        self._after = after
        self.ending = Ending(asked)
        self.past = True
        """Whether what is heard was there before."""

    async def hear(self, record: Record) -> Sequence[Event]:
        """The events of the next record that come after the cursor. All but the last of them say which they are."""
        decoded = codec.results.decode(record.value)
        place = Cursor(self._partition, record.offset)
        events = await self._events(self._stream, decoded, place)
        if isinstance(decoded, Progress):  # a chunk ends nothing, and there may be many
            self.ending.hear(self._stream, record.offset)
        seen = 0 if self._after is None else self._after.seen(place.offset)
        if seen is None:
            return ()
        if len(events) < seen:
            # The run's beginning was told twice, and the reader whose cursor this is has heard only the second time.
            events = await self._events(RunStream(self._stream.run), decoded, place)
        return [
            event if number == len(events) else replace(event, cursor=str(place._replace(events=number)))
            for number, event in enumerate(events, start=1)
            if number > seen
        ]

    async def _events(self, stream: RunStream, record: Result, place: Cursor) -> Sequence[Event]:
        return await shown(self._payloads, stream.read(record, str(place)), record.at_ms)


class Following:
    """Follows runs through the log. Close it after use."""

    def __init__(
        self,
        *,
        reader: Reader,
        topic: str,
        payloads: Payloads,
        summaries: Summaries,
        partition: Callable[[RunId], int],
        most_from_start: int = FOLLOWED_FROM_START,
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._payloads = payloads
        self._summaries = summaries
        self._partition = partition
        self._most_from_start = most_from_start
        self._tails = Tails(reader, topic)
        self._mine: dict[RunId, _Mine] = {}

    async def close(self) -> None:
        await self._tails.close()

    async def begin(self, run: RunId, digest: str, *, fresh: bool) -> int:
        """Follow a run that is about to be started here; returns where its partition ended before that."""
        partition = self._partition(run)
        follower = await self._tails.follow(partition, run.encode())
        known = self._mine.pop(run, None)  # of a start under the same key, which may have come meanwhile
        if known is not None:
            self._tails.leave(partition, known.follower)
        self._mine[run] = _Mine(follower, digest, fresh=fresh)
        if len(self._mine) > self._most_from_start:
            oldest = next(iter(self._mine))
            self._tails.leave(self._partition(oldest), self._mine.pop(oldest).follower)
        return follower.since

    async def end(self, run: RunId) -> int:
        """Where the run's partition ends now."""
        return (await self._reader.end(self._topic))[self._partition(run)]

    async def listen(self, run: RunId, asked: Asked, *, after: str | None = None) -> AsyncGenerator[Event | None, None]:
        """The run's events up to its end, and a None between those that were there at the call and those that follow.

        `after` is a cursor, or `live`. `asked` is what the caller has asked for the run: an end from before that may
        not be the one that it waits for (see `Ending`).
        """
        partition = self._partition(run)
        live = after == LIVE
        cursor = None if after is None or live else Cursor.parse(after, partition)
        heard = _Heard(run, partition, self._payloads, cursor, asked)
        follower, start, gone = await self._enter(run, partition, after, asked)
        try:
            async with contextlib.aclosing(self._tails.records(partition, follower, start)) as batches:
                async for batch in batches:
                    if batch is None:
                        if gone and not heard.ending.is_known:
                            raise Expired(f"run {run} has ended, and its stream is kept no longer", run=run)
                        if heard.ending.is_others:
                            await self._check_answered(run, partition, asked.started)
                        heard.past = False
                        yield None
                        if heard.ending.is_over(past=False):
                            return
                        continue
                    for record in batch:
                        for event in await heard.hear(record):
                            if not (live and heard.past):
                                yield event
                        if heard.ending.is_over(past=heard.past):
                            return
        finally:
            self._tails.leave(partition, follower)

    async def _enter(
        self, run: RunId, partition: int, after: str | None, asked: Asked
    ) -> tuple[Follower, int | None, bool]:
        """Somebody who follows the run live; where its earlier records begin, or None; whether they are gone."""
        mine = self._mine.pop(run, None)
        if mine is not None and after is not None:
            self._tails.leave(partition, mine.follower)
            mine = None
        follower = await self._tails.follow(partition, key_of(run).encode()) if mine is None else mine.follower
        try:
            # A key may have been used before: then the run is under way or over, and its beginning is in the log.
            if mine is not None and (mine.fresh or await self._has_just_begun(run, mine, asked)):
                return follower, None, False
            return follower, *await self._first_offset(run, partition, after)
        except BaseException:
            self._tails.leave(partition, follower)
            raise

    async def _has_just_begun(self, run: RunId, mine: _Mine, asked: Asked) -> bool:
        """Whether the first that was heard of the run since its start is its beginning, or the answer to the caller."""
        try:
            async with within(_BEGINS_WITHIN_SECONDS):
                first = await mine.follower.first()
        except TimeoutError:
            return False
        if first is None:
            return False
        decoded = codec.results.decode(first.value)
        if isinstance(decoded, Rejected):
            return bool(decoded.run == run and decoded.digest == mine.digest == asked.digest)
        return bool(
            isinstance(decoded, Progress)
            and decoded.run == run
            and decoded.status is not None
            and decoded.status.counter == 1
            and not asked.is_others(decoded.status.digest)
        )

    async def _check_answered(self, run: RunId, partition: int, started: int) -> None:
        """Raises `Expired` when the refusal of a start may be gone: nobody should wait for it for ever."""
        if (await self._reader.beginning(self._topic))[partition] > started:
            raise Expired(f"the answer to this start of run {run} is kept no longer", run=run)

    async def _first_offset(self, run: RunId, partition: int, after: str | None) -> tuple[int, bool]:
        """Where the run's first record may lie, and whether retention has removed its end.

        Statuses are folded from the start even after a cursor.
        """
        topic = self._topic
        begin = (await self._reader.beginning(topic))[partition]
        if after not in (None, LIVE) and Cursor.parse(after, partition).offset + 1 < begin:
            raise Expired(f"the cursor {after} is older than what {topic} retains (from {partition}-{begin})", run=run)
        summary = await self._summaries.newest(run)
        if summary is None:
            return begin, False
        found = await self._reader.at_time(topic, summary.started_ms - _STARTED_EARLIER_MS)
        gone = False
        if summary.ended_ms is not None and begin > 0:
            # A summary may be there before the end itself; of a run that ended before the log begins nothing comes.
            gone = (await self._reader.at_time(topic, summary.ended_ms))[partition] <= begin
        return max(begin, found[partition]), gone
