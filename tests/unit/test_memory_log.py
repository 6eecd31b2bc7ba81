"""A log in memory that is bounded: what is dropped is gone, and what is left keeps its place."""

import asyncio
from contextlib import aclosing

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.ports.log import Outgoing, TopicSpec


def filled(count: int, *, most_bytes: int | None) -> MemoryLog:
    log = MemoryLog(most_bytes=most_bytes)
    log.create([TopicSpec("t", 2)])
    for number in range(count):
        log.put(Outgoing("t", None, b"x" * 100, partition=number % 2), ("t", number % 2))
    return log


async def test_it_keeps_no_more_than_it_may() -> None:
    log = filled(10_000, most_bytes=10_000)
    kept = [record for partition in range(2) for record in log.records("t", partition)]
    assert 70 <= len(kept) <= 100
    assert log.records_in("t") == 10_000
    assert {record.offset for record in kept if record.partition == 1} == set(
        range((await log.beginning("t"))[1], 5_000)
    )
    assert await log.end("t") == {0: 5_000, 1: 5_000}
    assert await log.at_time("t", 0) == await log.beginning("t")


async def test_without_a_bound_it_keeps_all() -> None:
    assert len(filled(1_500, most_bytes=None).records("t", 1)) == 750


async def test_who_reads_goes_on_with_what_is_left_and_reads_nothing_twice() -> None:
    log = filled(100, most_bytes=10_000)
    read: list[int] = []
    async with asyncio.timeout(10), aclosing(log.read("t", {0: 0})) as batches:
        async for batch in batches:
            read += [record.offset for record in batch]
            if len(read) == 50:
                for _ in range(500):
                    log.put(Outgoing("t", None, b"x" * 100, partition=0), ("t", 0))
            if read[-1] == 549:
                break
    assert read == sorted(set(read))
    assert read[50] > 50


async def test_a_record_larger_than_all_is_kept_alone() -> None:
    log = filled(4, most_bytes=50)
    assert [len(log.records("t", partition)) for partition in range(2)] == [0, 1]
