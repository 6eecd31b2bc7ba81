"""One tail of a partition for all its followers, and what a slow follower gets."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.clients import tails
from beluga_stream.application.clients.tails import Tails
from beluga_stream.errors import LogUnavailable
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


# ------------------------------------------------------------------------------ when nobody follows
_WITHIN = 10.0


class Watched(MemoryLog):
    """Knows which partitions are read, and says nothing of their ends while it is told not to."""

    def __init__(self) -> None:
        super().__init__()
        self.create([TopicSpec(TOPIC, 2)])
        self.open: set[int] = set()
        self.opened = 0
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def end(self, topic: str) -> Mapping[int, int]:
        self.asked.set()
        await self.answers.wait()
        return await super().end(topic)

    async def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        live = until is None
        self.open |= set(start) if live else set()
        self.opened += live
        try:
            async for records in super().read(topic, start, until=until):
                yield records
        finally:
            self.open -= set(start) if live else set()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WITHIN):
        while not happened():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "_IDLE_SECONDS", 0.01)


@pytest.mark.usefixtures("idle")
async def test_a_partition_is_closed_when_nobody_has_followed_it_for_a_while() -> None:
    log = Watched()
    all_of = Tails(log, TOPIC)
    one, other = await all_of.follow(0, KEY), await all_of.follow(0, b"other")
    await until(lambda: log.open == {0})
    all_of.leave(0, one)
    all_of.leave(0, other)
    await until(lambda: not log.open)
    assert all_of._tails == {}
    await all_of.close()


@pytest.mark.usefixtures("idle")
async def test_a_partition_is_not_closed_while_somebody_follows_it() -> None:
    log = Watched()
    all_of = Tails(log, TOPIC)
    stays, goes = await all_of.follow(0, KEY), await all_of.follow(0, b"other")
    await until(lambda: log.open == {0})
    all_of.leave(0, goes)
    for _ in range(3):  # as often as it might have been closed, another one is
        brief = await all_of.follow(1, KEY)
        await until(lambda: log.open == {0, 1})
        all_of.leave(1, brief)
        await until(lambda: 1 not in log.open)
        assert log.open == {0}
    assert log.opened == 4
    await append(log, b"1")
    async with aclosing(all_of.records(0, stays, None)) as records:
        assert await take(records, 1) == [b"1"]
    all_of.leave(0, stays)
    await until(lambda: not log.open)
    await all_of.close()


async def test_who_comes_meanwhile_puts_the_closing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if that one has left again: it is the last one that counts."""
    monkeypatch.setattr(tails, "_IDLE_SECONDS", 3600.0)
    log = Watched()
    all_of = Tails(log, TOPIC)
    for _ in range(2):
        all_of.leave(0, await all_of.follow(0, KEY))
    [(tail, timer)] = all_of._idle.items()
    timer._run()
    timer.cancel()
    assert all_of._tails == {0: tail}
    [timer] = all_of._idle.values()
    timer._run()
    timer.cancel()
    assert all_of._tails == {}
    assert all_of._idle == {}
    await all_of.close()


@pytest.mark.usefixtures("idle")
async def test_the_next_one_that_follows_misses_nothing() -> None:
    log = Watched()
    all_of = Tails(log, TOPIC)
    for number in range(5):
        follower = await all_of.follow(0, KEY, 0)
        await until(lambda: log.open == {0})
        await append(log, b"live %d" % number)
        async with aclosing(all_of.records(0, follower, 0)) as records:
            assert len(await take(records, 2 * number + 1)) == 2 * number + 1
        all_of.leave(0, follower)
        if number % 2:
            await until(lambda: not log.open)
        else:
            await until(lambda: not all_of._tails)  # the former one closes while the next one opens
        await append(log, b"meanwhile %d" % number)
    assert log.opened == 5
    await all_of.close()


@pytest.mark.usefixtures("idle")
async def test_one_that_gives_up_before_a_partition_is_read_leaves_none_that_is() -> None:
    log = Watched()
    all_of = Tails(log, TOPIC)
    log.answers.clear()
    following = asyncio.create_task(all_of.follow(0, KEY))
    await log.asked.wait()
    following.cancel()
    await asyncio.wait({following})
    log.answers.set()
    await until(lambda: not all_of._tails and not log.open)
    await all_of.close()


async def test_who_waits_for_a_partition_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its beginning takes; else it would be taken for cancelled."""
    monkeypatch.setattr(tails, "_IDLE_SECONDS", 0.0)
    log = Watched()
    all_of = Tails(log, TOPIC)
    log.answers.clear()
    first, second = (asyncio.create_task(all_of.follow(0, key)) for key in (KEY, b"other"))
    await log.asked.wait()
    first.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    log.answers.set()
    async with asyncio.timeout(_WITHIN):
        follower = await second
    await append(log, b"not for it")
    await log.append([Outgoing(TOPIC, b"other", b"for it", partition=0)])
    async with aclosing(all_of.records(0, follower, None)) as records:
        assert await take(records, 1) == [b"for it"]
    assert log.opened == 1
    await all_of.close()


@pytest.mark.usefixtures("idle")
async def test_a_partition_that_failed_is_opened_again_and_closed_in_its_time() -> None:
    """What looked after the former one does not look after this one."""
    log = Watched()
    all_of = Tails(log, TOPIC)
    former = await all_of.follow(0, KEY)
    tail = all_of._tails[0]
    await tail.close()
    assert former.over
    all_of.leave(0, former)
    all_of.leave(0, await all_of.follow(0, KEY))
    assert all_of._tails[0] is not tail
    await until(lambda: not all_of._tails and not log.open)
    await all_of.close()


async def test_a_close_ends_what_looks_after_them_and_who_waits_hears_of_it() -> None:
    log = Watched()
    all_of = Tails(log, TOPIC)
    all_of.leave(0, await all_of.follow(0, KEY))
    follower = await all_of.follow(0, KEY)
    log.answers.clear()
    following = asyncio.create_task(all_of.follow(1, KEY))
    await until(lambda: 1 in all_of._tails)
    await asyncio.sleep(0)
    await all_of.close()
    async with asyncio.timeout(_WITHIN):
        with pytest.raises(LogUnavailable, match="t/1 was ended"):
            await following
    assert follower.over
    assert all_of._idle == {}
    assert not log.open


async def test_who_follows_while_they_are_closed_is_not_told_to_look_at_the_broker() -> None:
    _, all_of = await filled()
    follower = await all_of.follow(0, KEY)
    async with aclosing(all_of.records(0, follower, 0)) as records:
        assert await anext(records) is None
        await all_of.close()
        with pytest.raises(LogUnavailable, match="t/0 was ended: was the client closed"):
            await anext(records)


async def test_a_close_waits_for_what_is_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "_IDLE_SECONDS", 0.0)
    log = Watched()
    all_of = Tails(log, TOPIC)
    follower = await all_of.follow(0, KEY)
    await until(lambda: log.open == {0})
    all_of.leave(0, follower)
    await until(lambda: not all_of._tails)
    await all_of.close()
    assert not log.open
