"""One tail of a partition for all its followers, and what a slow follower gets."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.tails import Tails
from beluga_stream.ports.log import Outgoing, Record, TopicSpec

TOPIC, KEY = "t", b"k"


async def filled(**bounds: int) -> tuple[MemoryLog, Tails]:
    log = MemoryLog()
    log.create([TopicSpec(TOPIC, 1)])
    return log, Tails(log, TOPIC, **bounds)


async def append(log: MemoryLog, *values: bytes) -> None:
    await log.append([Outgoing(TOPIC, KEY, value, partition=0) for value in values])


async def take(batches: AsyncGenerator[Sequence[Record] | None, None], count: int) -> list[bytes | None]:
    """The next values, which end with a batch; the mark of what was there is left out."""
    found: list[bytes | None] = []
    while len(found) < count:
        found += [record.value for record in await anext(batches) or ()]
    return found


async def arrived(all_of: Tails, offset: int) -> None:
    """Wait until the tail has handed out what lies before this offset."""
    follower = await all_of.follow(0, b"other")
    while follower.since < offset:
        await asyncio.sleep(0)
        all_of.leave(0, follower)
        follower = await all_of.follow(0, b"other")
    all_of.leave(0, follower)


async def test_what_a_slow_follower_missed_comes_in_its_place() -> None:
    log, all_of = await filled(buffered=3)
    follower = await all_of.follow(0, KEY)
    async with aclosing(all_of.records(0, follower, 0)) as records:
        await append(log, b"0")
        assert await take(records, 1) == [b"0"]
        await append(log, b"1", b"2", b"3", b"4", b"5")  # two of them find no room
        await arrived(all_of, 6)
        assert follower.lagging
        assert await take(records, 3) == [b"1", b"2", b"3"]
        await append(log, b"6")  # there is room again, but not yet for this one
        await arrived(all_of, 7)
        assert await take(records, 3) == [b"4", b"5", b"6"]
        await append(log, b"7")
        assert await take(records, 1) == [b"7"]
    await all_of.close()


async def test_a_slow_follower_keeps_no_more_than_so_many_bytes() -> None:
    log, all_of = await filled(buffered_bytes=1_000)
    follower = await all_of.follow(0, KEY)
    values = [b"%d" % number * 400 for number in range(6)]
    await append(log, *values)
    await arrived(all_of, 6)
    kept = follower.take()
    assert [record.value for record in kept] == values[:2]
    async with aclosing(all_of.records(0, follower, None)) as records:
        assert await take(records, 6) == values
        await append(log, b"x" * 5_000, b"last")  # one that is larger than all comes too
        assert await take(records, 2) == [b"x" * 5_000, b"last"]
    await all_of.close()
