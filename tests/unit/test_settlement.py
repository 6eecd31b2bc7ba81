"""Effects follow decisions, and nothing follows a gap."""

import asyncio
from collections.abc import Sequence

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application.partition import RunPartition
from beluga_stream.application.settlement import Decided, Settlement
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Position


class Sent:
    """Keeps what is appended; hangs when told to."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.hangs = False

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        if self.hangs:
            await asyncio.Event().wait()
        self.records.extend(records)
        return [Position(record.topic, 0, 0) for record in records]


def owned(number: int) -> RunPartition:
    return RunPartition(number, MemoryPartitionTable(Changelog(), MemoryLog()))


def decided(of: RunPartition, topic: str, *, fails: bool = False) -> Decided:
    async def write() -> None:
        if fails:
            raise LogUnavailable("the broker is gone")

    return Decided(of, asyncio.create_task(write()), of.seal(), [Outgoing(topic, b"k", b"v")])


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


async def test_batches_are_sent_in_their_order() -> None:
    sent = Sent()
    settlement, one = Settlement(sent), owned(0)
    for settled in [settlement.begin([decided(one, topic)]) for topic in "abc"]:
        assert settled is not None
        await settled
    assert [record.topic for record in sent.records] == ["a", "b", "c"]


async def test_its_end_does_not_wait_for_a_broker_that_does_not_answer() -> None:
    sent = Sent()
    sent.hangs = True
    settlement = Settlement(sent)
    settled = settlement.begin([decided(owned(0), "a")])
    assert settled is not None
    await settlement.close(0.01)
    assert not settled.done() or settled.cancelled()
    settled.cancel()
