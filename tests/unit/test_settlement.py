"""Effects follow decisions, and nothing follows a gap."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application.coordinator.partition import RunPartition
from beluga_stream.application.coordinator.settlement import Decided, Rendered, Settlement
from beluga_stream.bounds import within
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Position


class Sent:
    """Keeps what is appended; hangs after so many appends."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.most = asyncio.Semaphore(100)

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        await self.most.acquire()
        self.records.extend(records)
        return [Position(record.topic, 0, 0) for record in records]


def owned(number: int) -> RunPartition:
    return RunPartition(number, MemoryPartitionTable(Changelog(), MemoryLog()))


def decided(of: RunPartition, topic: str, *, fails: bool = False, told: Callable[[str], None] = print) -> Decided:
    async def write() -> None:
        told("write")
        if fails:
            raise LogUnavailable("the broker is gone")

    def render() -> Rendered:
        told("render")
        return Rendered([Outgoing(topic, b"k", b"v")])

    return Decided(of, asyncio.create_task(write()), of.seal(), render)


async def test_after_a_failed_write_nothing_is_sent_of_any_partition() -> None:
    sent = Sent()
    settlement, one, other = Settlement(sent), owned(0), owned(1)
    first = settlement.begin([decided(one, "a", fails=True), decided(other, "b")])
    second = settlement.begin([decided(other, "c")])
    for settled in (first, second):
        assert settled is not None
        with pytest.raises(LogUnavailable):
            await settled
    assert sent.records == []


async def test_records_are_rendered_when_the_write_has_begun() -> None:
    told: list[str] = []
    settled = Settlement(Sent()).begin([decided(owned(n), "a", told=told.append) for n in range(2)])
    assert settled is not None
    await settled
    assert told == ["write", "write", "render", "render"]


async def test_after_records_that_cannot_be_rendered_nothing_is_sent() -> None:
    def broken() -> Rendered:
        raise ZeroDivisionError

    sent = Sent()
    settlement, one = Settlement(sent), owned(0)
    first = settlement.begin([decided(one, "a")._replace(render=broken)])
    second = settlement.begin([decided(one, "b")])
    for settled in (first, second):
        assert settled is not None
        with pytest.raises(ZeroDivisionError):
            await settled
    assert sent.records == []


async def test_all_but_the_latest_batch_can_be_waited_for() -> None:
    sent = Sent()
    sent.most = asyncio.Semaphore(1)
    settlement, one = Settlement(sent), owned(0)
    first, second = (settlement.begin([decided(one, topic)]) for topic in "ab")
    assert first is not None
    assert second is not None
    async with within(5):
        await settlement.only_latest()
    assert first.done()
    assert not second.done()
    sent.most.release()
    await second


async def test_batches_are_sent_in_their_order() -> None:
    sent = Sent()
    settlement, one = Settlement(sent), owned(0)
    for settled in [settlement.begin([decided(one, topic)]) for topic in "abc"]:
        assert settled is not None
        await settled
    assert [record.topic for record in sent.records] == ["a", "b", "c"]


async def test_its_end_does_not_wait_for_a_broker_that_does_not_answer() -> None:
    sent = Sent()
    sent.most = asyncio.Semaphore(0)
    settlement = Settlement(sent)
    settled = settlement.begin([decided(owned(0), "a")])
    assert settled is not None
    await settlement.close(0.01)
    assert not settled.done() or settled.cancelled()
    settled.cancel()
