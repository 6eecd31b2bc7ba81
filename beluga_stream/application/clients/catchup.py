"""What readers have missed of a partition, read once for all who wait at the same time.

After a restart of a gateway a thousand readers come back at once; each by itself would read the same records.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ...errors import LogUnavailable
from ...ports.log import Reader, Record

_MOST_RECORDS = 4_096
_MOST_BYTES = 256 * 1024
"""Most that is kept for one reader; one with more reads the rest by itself."""


@dataclass(eq=False, slots=True)
class _Wish:
    """The records of a key between two offsets. `position` is where the reading has come to."""

    key: bytes
    position: int
    end: int
    done: "asyncio.Future[None]"
    records: list[Record] = field(default_factory=list)
    size: int = 0

    def take(self, record: Record) -> None:
        if self.done.done() or not self.position <= record.offset < self.end:
            return
        self.records.append(record)
        self.position = record.offset + 1
        self.size += len(record.value or b"")
        if len(self.records) >= _MOST_RECORDS or self.size >= _MOST_BYTES:
            self.done.set_result(None)

    def finish(self) -> None:
        if not self.done.done():
            self.position = self.end
            self.done.set_result(None)


class CatchUp:
    """Reads one topic's partitions, each for all who wait for it. Close it after use."""

    def __init__(self, reader: Reader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._wishes: dict[int, list[_Wish]] = defaultdict(list)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Stop reading; who waits hears that it was ended here, and is not cancelled: nobody has told them to stop."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for partition in list(self._wishes):
            self._drop(partition)

    async def records(self, partition: int, key: bytes, start: int, end: int) -> AsyncGenerator[Sequence[Record], None]:
        """The key's records from `start` to before `end`, in order and in batches, none of them empty."""
        if start >= end:
            return
        wish = _Wish(key, start, end, asyncio.get_running_loop().create_future())
        self._wishes[partition].append(wish)
        if partition not in self._tasks:
            self._tasks[partition] = asyncio.create_task(self._run(partition), name=f"beluga-catch-up-{partition}")
        try:
            await wish.done
        finally:
            wish.done.cancel()
        if wish.records:
            yield wish.records
        if wish.position < end:
            reading = self._reader.read(self._topic, {partition: wish.position}, until={partition: end})
            async with aclosing(reading) as batches:
                async for records in batches:
                    if found := [record for record in records if record.key == key]:
                        yield found

    async def _run(self, partition: int) -> None:
        """Read as long as somebody waits. Who comes in the midst of a reading waits for the next one."""
        try:
            while wishes := self._wishes.pop(partition, []):
                try:
                    await self._read(partition, [wish for wish in wishes if not wish.done.done()])
                except Exception as error:  # noqa: BLE001 - it is raised by who waits
                    _fail(wishes, error)
                finally:
                    _fail(wishes, ended_here(self._topic, partition))
        finally:
            self._tasks.pop(partition, None)
            self._drop(partition)

    def _drop(self, partition: int) -> None:
        _fail(self._wishes.pop(partition, []), ended_here(self._topic, partition))

    async def _read(self, partition: int, wishes: Sequence[_Wish]) -> None:
        by_key: dict[bytes | None, list[_Wish]] = defaultdict(list)
        for wish in wishes:
            by_key[wish.key].append(wish)
        if not wishes:
            return
        start, end = min(wish.position for wish in wishes), max(wish.end for wish in wishes)
        async with aclosing(self._reader.read(self._topic, {partition: start}, until={partition: end})) as batches:
            async for records in batches:
                for record in records:
                    for wish in by_key.get(record.key, ()):
                        wish.take(record)
                if all(wish.done.done() for wish in wishes):
                    return
        for wish in wishes:
            wish.finish()


def _fail(wishes: Iterable[_Wish], error: Exception) -> None:
    """This is raised by those of them that still wait."""
    for wish in wishes:
        if not wish.done.done():
            wish.done.set_exception(error)


def ended_here(topic: str, partition: int) -> LogUnavailable:
    """What is told of a partition that is read no more because somebody here wants it so, and not the broker."""
    return LogUnavailable(f"reading {topic}/{partition} was ended: was the client closed, or does this process end?")
