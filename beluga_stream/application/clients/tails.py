"""One live reader for each partition of `beluga.run-results` in a process, however many runs are followed."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from ...errors import LogUnavailable
from ...ports.log import Reader, Record
from .catchup import CatchUp, ended_here
from .follower import Follower

BUFFERED = 4_096
"""Most records kept for one slow follower; past it, it reads the log again from where it was."""

_BUFFERED_BYTES = 256 * 1024
"""Most bytes of them; one record that is larger is kept alone."""

_RECENT = 256
"""Records of a partition that are kept for readers that come late."""

_START_SECONDS = 30.0

_IDLE_SECONDS = 10.0
"""How long a partition is read after the last one who followed a run of it has left."""


class _Tail:
    """Reads one partition from its end on, and hands each record to those who follow its key.

    It keeps the last few: a reader that comes a moment late for a record need not read the log.
    """

    def __init__(self, reader: Reader, topic: str, partition: int) -> None:
        self._reader = reader
        self._topic = topic
        self._partition = partition
        self.followers: dict[bytes, dict[Follower, None]] = {}
        self.position = -1
        self.followed = 0
        """How many have followed it so far."""
        self.awaited = 0
        """By how many who want to follow it once it is ready."""
        self._recent: deque[Record] = deque(maxlen=_RECENT)
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"beluga-tail-{partition}")
        self._task.add_done_callback(_seen)

    async def ready(self) -> None:
        """Wait until the tail has its position: what is appended after this reaches it."""
        waiting = asyncio.create_task(self._ready.wait())
        done, _ = await asyncio.wait({waiting, self._task}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task in done:
            if self._task.cancelled():
                raise ended_here(self._topic, self._partition)
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
            follower.offer([each for each in self._recent if each.key == follower.key and each.offset >= start])

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            self.position = (await self._reader.end(self._topic))[self._partition]
            self._ready.set()
            async for records in self._reader.read(self._topic, {self._partition: self.position}):
                if records:
                    self._hand_out(records)
        finally:
            for followers in self.followers.values():
                for follower in followers:
                    follower.finish()

    def _hand_out(self, records: Sequence[Record]) -> None:
        """Each follower gets what is of its key at once, and is woken once."""
        self._recent.extend(records)
        self.position = records[-1].offset + 1
        wanted: dict[bytes, list[Record]] = defaultdict(list)
        for record in records:
            key = record.key or b""
            if key in self.followers:
                wanted[key].append(record)
        for key, found in wanted.items():
            for follower in self.followers[key]:
                follower.offer(found)


class Tails:
    """The tails of this process: a partition is read while a run of it is followed, and for a moment after that."""

    def __init__(
        self, reader: Reader, topic: str, *, buffered: int = BUFFERED, buffered_bytes: int = _BUFFERED_BYTES
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._buffered = buffered
        self._buffered_bytes = buffered_bytes
        self._tails: dict[int, _Tail] = {}
        self._idle: dict[_Tail, asyncio.TimerHandle] = {}
        """What looks whether they are."""
        self._closing: set[asyncio.Task[None]] = set()
        self._catch_up = CatchUp(reader, topic)
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        await self._catch_up.close()
        for idle in self._idle.values():
            idle.cancel()
        self._idle.clear()
        for tail in self._tails.values():
            await tail.close()
        self._tails.clear()
        await asyncio.gather(*self._closing)

    async def follow(self, partition: int, key: bytes, start: int | None = None) -> Follower:
        """Get every record of the key that is appended from now on, and maybe from `start` on."""
        tail = await self._ready(partition)
        follower = Follower(key, self._buffered, self._buffered_bytes, since=tail.position)
        if start is not None:
            tail.catch_up(follower, start)
        tail.followers.setdefault(key, {})[follower] = None
        return follower

    def open(self, partitions: Iterable[int]) -> None:
        """Begin to read these, so that who follows one soon does not wait for that."""
        for partition in partitions:
            self._open(partition)

    def _open(self, partition: int) -> _Tail:
        tail = self._tails.get(partition)
        if tail is None or tail.over:
            tail = self._tails[partition] = _Tail(self._reader, self._topic, partition)
            self._watch(partition, tail)  # whoever wants it may give up before it is ready
        return tail

    async def _ready(self, partition: int) -> _Tail:
        while True:
            tail = self._open(partition)
            tail.followed += 1
            tail.awaited += 1
            try:
                await tail.ready()
            finally:
                tail.awaited -= 1
            if self._tails.get(partition) is tail:
                return tail

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
        if not tail.followers and tail not in self._idle:
            self._watch(partition, tail)

    def _watch(self, partition: int, tail: _Tail) -> None:
        """Look after a while whether it is idle still."""
        loop = asyncio.get_running_loop()
        self._idle[tail] = loop.call_later(_IDLE_SECONDS, self._close_if_idle, partition, tail, tail.followed)

    def _close_if_idle(self, partition: int, tail: _Tail, followed: int) -> None:
        del self._idle[tail]
        if tail.followers or self._tails.get(partition) is not tail:
            return
        if tail.awaited or tail.followed != followed:
            self._watch(partition, tail)
            return
        del self._tails[partition]
        task = asyncio.create_task(tail.close(), name=f"beluga-tail-{partition}-closing")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def records(
        self, partition: int, follower: Follower, start: int | None
    ) -> AsyncGenerator[Sequence[Record] | None, None]:
        """The key's records from `start` on (None: only what the follower gets live), for ever, as they are there.

        None is given once, when all that was there at the call has been. A follower that is too slow
        for its buffer reads the log again from where it was.
        """
        position = start
        past = True
        looks = start is not None and start < follower.since
        if start is None and (waiting := follower.take()):
            yield waiting
            position = waiting[-1].offset + 1
        while True:
            if position is not None and looks:
                end = (await self._reader.end(self._topic))[partition]
                async with aclosing(self._catch_up.records(partition, follower.key, position, end)) as missed:
                    async for records in missed:
                        yield records
                position = max(position, end)
            if past:
                past = False
                yield None
            while True:
                taken = follower.take()
                if position is not None:
                    taken = [record for record in taken if record.offset >= position]
                if taken:
                    yield taken
                    position = taken[-1].offset + 1
                elif follower.over and self._closed:
                    raise ended_here(self._topic, partition)
                elif follower.over:
                    raise LogUnavailable(f"reading {self._topic}/{partition} ended: is the broker there?")
                elif follower.lagging:
                    break
                else:
                    await follower.wait()
            follower.lagging, looks = False, True
            position = follower.since if position is None else position


def _seen(task: "asyncio.Task[None]") -> None:
    """That it failed is told by `ready`, and to followers; a tail that nobody follows may be opened again."""
    if not task.cancelled():
        task.exception()
