"""One live reader for each partition of `beluga.run-results` in a process, however many runs are followed."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from ..errors import LogUnavailable
from ..ports.log import Reader, Record
from .catchup import CatchUp

_BUFFERED = 4_096
"""Most records kept for one slow follower; past it, it reads the log again from where it was."""

_BUFFERED_BYTES = 256 * 1024
"""Most bytes of them; one record that is larger is kept alone."""

_RECENT = 256
"""Records of a partition that are kept for who comes late."""

_START_SECONDS = 30.0


@dataclass(eq=False, slots=True)
class Follower:
    """Somebody who wants the records of one key. `lagging` means that some were dropped."""

    key: bytes
    records: asyncio.Queue[Record | None] = field(default_factory=lambda: asyncio.Queue(_BUFFERED))
    lagging: bool = False
    since: int = 0
    """From where on it gets everything: where the partition ended when the following began, or earlier."""
    _bytes: int = 0
    _first: Record | None = None
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def first(self) -> Record:
        """The first record since the following began; it stays in the queue."""
        while self._first is None:
            await self._came.wait()
        return self._first

    def waiting(self) -> Iterator[Record]:
        """What is in the queue now, taken out of it."""
        for _ in range(self.records.qsize()):
            record = self._taken(self.records.get_nowait())
            if record is None:
                return
            yield record

    async def next(self) -> Record | None:
        """The next one that was offered; None when there will be none."""
        return self._taken(await self.records.get())

    def offer(self, record: Record | None) -> None:
        """Keep a record, if there is room, and none was left out before it; None: there will be no more."""
        if self._first is None and record is not None:
            self._first = record
            self._came.set()
        size = _size_of(record)
        if record is not None and (self.lagging or (self._bytes and self._bytes + size > _BUFFERED_BYTES)):
            self.lagging = True
            return
        try:
            self.records.put_nowait(record)
            self._bytes += size
        except asyncio.QueueFull:
            self.lagging = True

    def _taken(self, record: Record | None) -> Record | None:
        self._bytes -= _size_of(record)
        return record


class _Tail:
    """Reads one partition from its end on, and hands each record to those who follow its key.

    It keeps the last few: who comes a moment late for a record need not read the log.
    """

    def __init__(self, reader: Reader, topic: str, partition: int) -> None:
        self._reader = reader
        self._topic = topic
        self._partition = partition
        self.followers: dict[bytes, dict[Follower, None]] = {}
        self.position = -1
        self._recent: deque[Record] = deque(maxlen=_RECENT)
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"beluga-tail-{partition}")

    async def ready(self) -> None:
        """Wait until the tail has its position: what is appended after this reaches it."""
        waiting = asyncio.create_task(self._ready.wait())
        done, _ = await asyncio.wait({waiting, self._task}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task in done:
            self._task.result()
        if not done:
            raise LogUnavailable(f"{self._topic}/{self._partition} could not be read: is the broker there?")

    @property
    def over(self) -> bool:
        return self._task.done()

    def catch_up(self, follower: Follower, start: int) -> None:
        """Give a new follower what it has missed since this offset, if that is at hand."""
        if self._recent and self._recent[0].offset <= start < self.position:
            follower.since = start
            for record in self._recent:
                if record.key == follower.key and record.offset >= start:
                    follower.offer(record)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            self.position = (await self._reader.end(self._topic))[self._partition]
            self._ready.set()
            async for records in self._reader.read(self._topic, {self._partition: self.position}):
                self._recent.extend(records)
                for record in records:
                    self.position = record.offset + 1
                    for follower in self.followers.get(record.key or b"", ()):
                        follower.offer(record)
        finally:
            for followers in self.followers.values():
                for follower in followers:
                    follower.lagging = True
                    follower.offer(None)


class Tails:
    """The tails of this process, opened when first needed."""

    def __init__(self, reader: Reader, topic: str, buffered: int = _BUFFERED) -> None:
        self._reader = reader
        self._topic = topic
        self._buffered = buffered
        self._tails: dict[int, _Tail] = {}
        self._catch_up = CatchUp(reader, topic)

    async def close(self) -> None:
        await self._catch_up.close()
        for tail in self._tails.values():
            await tail.close()
        self._tails.clear()

    async def follow(self, partition: int, key: bytes, start: int | None = None) -> Follower:
        """Get every record of the key that is appended from now on, and maybe from `start` on."""
        tail = self._tails.get(partition)
        if tail is None or tail.over:
            tail = self._tails[partition] = _Tail(self._reader, self._topic, partition)
        await tail.ready()
        follower = Follower(key, asyncio.Queue(self._buffered), since=tail.position)
        if start is not None:
            tail.catch_up(follower, start)
        tail.followers.setdefault(key, {})[follower] = None
        return follower

    def leave(self, partition: int, follower: Follower) -> None:
        """Want no more."""
        tail = self._tails.get(partition)
        if tail is None:
            return
        followers = tail.followers.get(follower.key)
        if followers is not None:
            followers.pop(follower, None)
            if not followers:
                del tail.followers[follower.key]

    async def records(
        self, partition: int, follower: Follower, start: int | None
    ) -> AsyncGenerator[Record | None, None]:
        """The key's records from `start` on (None: only what the follower gets live), for ever.

        None is given once, when all that was there at the call has been. A follower that is too slow
        for its buffer reads the log again from where it was.
        """
        position = start
        past = True
        looks = start is not None and start < follower.since
        if start is None:
            for record in follower.waiting():
                yield record
                position = record.offset + 1
        while True:
            if position is not None and looks:
                end = (await self._reader.end(self._topic))[partition]
                async with aclosing(self._catch_up.records(partition, follower.key, position, end)) as missed:
                    async for record in missed:
                        yield record
                position = max(position, end)
            if past:
                past = False
                yield None
            tail = self._tails.get(partition)
            if follower.lagging and (tail is None or tail.over):
                raise LogUnavailable(f"reading {self._topic}/{partition} ended: is the broker there?")
            while not follower.lagging or not follower.records.empty():
                record_or_end = await follower.next()
                if record_or_end is None:
                    raise LogUnavailable(f"reading {self._topic}/{partition} ended: is the broker there?")
                if position is None or record_or_end.offset >= position:
                    yield record_or_end
                    position = record_or_end.offset + 1
            follower.lagging, looks = False, True
            position = follower.since if position is None else position


def _size_of(record: Record | None) -> int:
    return 0 if record is None else len(record.value or b"")
