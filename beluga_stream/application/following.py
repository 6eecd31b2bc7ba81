"""Following a run: its stream as events, from its beginning, after a cursor or from now on, up to its end.

A run that is started here is followed from that moment on, so that its first reader need not look for it in the log.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace

from ..bounds import within
from ..domain.ids import RunId, key_of
from ..errors import Expired
from ..ports.log import Reader, Record
from . import codec
from .cursor import LIVE, Cursor
from .follower import Follower
from .inner import RunStream
from .messages import Progress, Rejected, Result
from .payloads import Payloads
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

    def __init__(self, run: RunId, partition: int, payloads: Payloads, after: Cursor | None) -> None:
        self._stream = RunStream(run)
        self._partition = partition
        self._payloads = payloads
        self._after = after
        self._ended_at = -1
        """Where the end that was heard last lies."""
        self.past = True
        """Whether what is heard was there before."""

    @property
    def has_ended_once(self) -> bool:
        return self._ended_at >= 0

    def is_over(self, *, started: int, retried: int) -> bool:
        """Whether nothing more is to be waited for, by who asked for a start and a retry behind these offsets.

        A failed run may have been retried since: its end counts only once all of the past has been heard, and only if
        it lies behind the retry that was asked for. An end from before the start that was asked for counts only then,
        too: the refusal of that start may lie behind it.
        """
        stream = self._stream
        if not stream.ended:
            return False
        if self.past and not (stream.final and self._ended_at >= started):
            return False
        return stream.final or self._ended_at >= retried

    async def hear(self, record: Record) -> Sequence[Event]:
        """The events of the next record that come after the cursor. All but the last of them say which they are."""
        decoded = codec.results.decode(record.value)
        place = Cursor(self._partition, record.offset)
        had_ended = self._stream.ended
        events = await self._events(self._stream, decoded, place)
        if self._stream.ended and not had_ended:
            self._ended_at = record.offset
        seen = 0 if self._after is None else self._after.seen(place.offset)
        if seen is None:
            return ()
        if len(events) < seen:
            # The run's beginning was told twice, and whose cursor this is heard only this second time.
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
        known = self._mine.pop(run, None)
        if known is not None:
            self._tails.leave(partition, known.follower)
        follower = await self._tails.follow(partition, run.encode())
        self._mine[run] = _Mine(follower, digest, fresh=fresh)
        if len(self._mine) > self._most_from_start:
            oldest = next(iter(self._mine))
            self._tails.leave(self._partition(oldest), self._mine.pop(oldest).follower)
        return follower.since

    async def end(self, run: RunId) -> int:
        """Where the run's partition ends now."""
        return (await self._reader.end(self._topic))[self._partition(run)]

    async def listen(
        self, run: RunId, *, after: str | None = None, started: int = 0, retried: int = 0
    ) -> AsyncGenerator[Event | None, None]:
        """The run's events up to its end, and a None between those that were there at the call and those that follow.

        `after` is a cursor, or `live`. `started` and `retried` are the offsets at which the caller asked for a start
        and for a retry: an end from before them may not be the one that the caller waits for.
        """
        partition = self._partition(run)
        live = after == LIVE
        heard = _Heard(
            run, partition, self._payloads, None if after is None or live else Cursor.parse(after, partition)
        )
        follower, start, gone = await self._enter(run, partition, after)
        try:
            async with contextlib.aclosing(self._tails.records(partition, follower, start)) as batches:
                async for batch in batches:
                    if batch is None:
                        if gone and not heard.has_ended_once:
                            raise Expired(f"run {run} has ended, and its stream is kept no longer", run=run)
                        heard.past = False
                        yield None
                        if heard.is_over(started=started, retried=retried):
                            return
                        continue
                    for record in batch:
                        for event in await heard.hear(record):
                            if not (live and heard.past):
                                yield event
                        if heard.is_over(started=started, retried=retried):
                            return
        finally:
            self._tails.leave(partition, follower)

    async def _enter(self, run: RunId, partition: int, after: str | None) -> tuple[Follower, int | None, bool]:
        """Somebody who follows the run live; where its earlier records begin, or None; whether they are gone."""
        mine = self._mine.pop(run, None)
        if mine is not None and after is None:
            # A key may have been used before: then the run is under way or over, and its beginning is in the log.
            if mine.fresh or await self._has_just_begun(run, mine):
                return mine.follower, None, False
            follower = mine.follower
        else:
            if mine is not None:
                self._tails.leave(partition, mine.follower)
            follower = await self._tails.follow(partition, key_of(run).encode())
        try:
            return follower, *await self._first_offset(run, partition, after)
        except BaseException:
            self._tails.leave(partition, follower)
            raise

    async def _has_just_begun(self, run: RunId, mine: _Mine) -> bool:
        """Whether the first that was heard of the run since its start is its beginning, or an answer to the start."""
        try:
            async with within(_BEGINS_WITHIN_SECONDS):
                first = await mine.follower.first()
        except TimeoutError:
            return False
        if first is None:
            return False
        decoded = codec.results.decode(first.value)
        if isinstance(decoded, Rejected):
            return bool(decoded.run == run and decoded.digest == mine.digest)
        return bool(
            isinstance(decoded, Progress)
            and decoded.run == run
            and decoded.status is not None
            and decoded.status.counter == 1
        )

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
