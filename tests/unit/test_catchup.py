"""What many readers have missed is read once for all of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.clients import catchup
from beluga_stream.application.clients.catchup import CatchUp
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Record, TopicSpec

TOPIC = "t"


class Counted(MemoryLog):
    """Counts how often it is read, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.create([TopicSpec(TOPIC, 1)])
        self.readings = self.open = 0
        self.read_once = asyncio.Event()
        self.broken = False

    async def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncIterator[Sequence[Record]]:  # type: ignore[override]
        self.readings += 1
        self.read_once.set()
        await asyncio.sleep(0)
        if self.broken:
            raise LogUnavailable("no broker")
        self.open += 1
        try:
            async for records in super().read(topic, start, until=until):
                for record in records:  # one by one, so that somebody may leave between
                    yield [record]
        finally:
            self.open -= 1


async def filled(keys: int, each: int) -> Counted:
    log = Counted()
    await log.append(
        [Outgoing(TOPIC, b"%d" % key, b"%d" % number, partition=0) for number in range(each) for key in range(keys)]
    )
    return log


async def read(catch_up: CatchUp, key: int, start: int, end: int) -> list[int]:
    batches = catch_up.records(0, b"%d" % key, start, end)
    return [int(record.value or b"") async for records in batches for record in records]


async def test_readers_who_come_together_share_a_reading() -> None:
    log = await filled(50, 10)
    catch_up = CatchUp(log, TOPIC)
    found = await asyncio.gather(*(read(catch_up, key, 0, 500) for key in range(50)))
    assert found == [list(range(10))] * 50
    assert log.readings == 1
    await catch_up.close()


async def test_each_gets_what_lies_between_its_own_offsets() -> None:
    log = await filled(2, 10)
    catch_up = CatchUp(log, TOPIC)
    found = await asyncio.gather(*(read(catch_up, 0, start, end) for start, end in [(0, 20), (4, 9), (19, 20), (5, 5)]))
    assert found == [list(range(10)), [2, 3, 4], [], []]
    await catch_up.close()


async def test_a_reader_with_much_to_read_reads_the_rest_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "_MOST_RECORDS", 3)
    log = await filled(2, 10)
    catch_up = CatchUp(log, TOPIC)
    assert await asyncio.gather(*(read(catch_up, key, 0, 20) for key in range(2))) == [list(range(10))] * 2
    assert log.readings == 3
    await catch_up.close()


async def test_a_reading_is_closed_when_everybody_has_enough_and_when_who_reads_the_rest_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catchup, "_MOST_RECORDS", 3)
    log = await filled(1, 10)
    catch_up = CatchUp(log, TOPIC)
    async with aclosing(catch_up.records(0, b"0", 0, 10)) as batches:
        assert len(await anext(batches)) == 3
        assert not log.open
        await anext(batches)
        assert log.open
    assert not log.open
    await catch_up.close()


async def test_who_comes_in_the_midst_of_a_reading_gets_the_next() -> None:
    log = await filled(1, 10)
    catch_up = CatchUp(log, TOPIC)
    first = asyncio.create_task(read(catch_up, 0, 0, 10))
    async with asyncio.timeout(5):
        await log.read_once.wait()
    await log.append([Outgoing(TOPIC, b"0", b"10", partition=0)])
    assert await read(catch_up, 0, 0, 11) == list(range(11))
    assert await first == list(range(10))
    await catch_up.close()


async def test_an_error_reaches_everybody_who_waits_and_the_next_may_succeed() -> None:
    log = await filled(2, 3)
    log.broken = True
    catch_up = CatchUp(log, TOPIC)
    told = await asyncio.gather(*(read(catch_up, key, 0, 6) for key in range(2)), return_exceptions=True)
    assert [type(each) for each in told] == [LogUnavailable] * 2
    log.broken = False
    assert await read(catch_up, 0, 0, 6) == [0, 1, 2]
    await catch_up.close()


async def test_a_reader_that_leaves_holds_up_nobody() -> None:
    log = await filled(2, 3)
    catch_up = CatchUp(log, TOPIC)
    leaving, staying = (asyncio.create_task(read(catch_up, key, 0, 6)) for key in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == [0, 1, 2]
    await asyncio.gather(leaving, return_exceptions=True)
    await catch_up.close()


async def test_closing_ends_what_is_under_way_and_cancels_nobody() -> None:
    log = await filled(1, 3)
    for reads in (0, 1):  # before the reading has begun, and in its midst
        catch_up = CatchUp(log, TOPIC)
        log.read_once.clear()
        reading = asyncio.create_task(read(catch_up, 0, 0, 3))
        if reads:
            await log.read_once.wait()
        else:
            await asyncio.sleep(0)
        await catch_up.close()
        with pytest.raises(LogUnavailable, match="was the client closed"):
            await reading
    assert log.readings == 1
