"""A simulated log fails as a broker does: in parts, in order, and after its client is dead."""

import asyncio
import random

import pytest

from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog
from beluga_stream.errors import Fenced, LogUnavailable
from beluga_stream.ports.log import Outgoing, TopicSpec
from beluga_stream.testing.faulty_ports import FaultyAppender, FaultyReader, FaultyTables
from beluga_stream.testing.process import Faults, Process, tasks_of_processes
from beluga_stream.testing.virtual_time import VirtualClock, run_virtually

_SENT = [Outgoing("log", None, str(number).encode(), partition=number % 2) for number in range(20)]
_SEEDS = range(40)


def _log() -> MemoryLog:
    log = MemoryLog(clock=VirtualClock())
    log.create([TopicSpec("log", 2)])
    return log


def _values(log: MemoryLog) -> list[list[int]]:
    return [[int(record.value or b"") for record in log.records("log", number)] for number in range(2)]


def _is_a_first_part_of_each(written: list[list[int]]) -> bool:
    return all(values == list(range(number, 20, 2))[: len(values)] for number, values in enumerate(written))


def test_of_an_append_that_is_not_confirmed_each_partition_has_a_first_part() -> None:
    """A broker in trouble may have written none, some or all, but leaves no gap."""

    async def append(seed: int) -> list[list[int]]:
        log = _log()
        process = Process("sender", Faults(random.Random(seed), unavailable=1.0, left=2))
        with pytest.raises(LogUnavailable):
            await FaultyAppender(log, process).append(_SENT)
        return _values(log)

    written = [run_virtually(append(seed), seed) for seed in _SEEDS]
    assert all(map(_is_a_first_part_of_each, written))
    sizes = {sum(map(len, values)) for values in written}
    assert len(sizes) > 5


def test_what_a_dead_process_has_sent_may_still_arrive_as_a_first_part() -> None:
    async def append(seed: int) -> tuple[list[list[int]], list[list[int]]]:
        asyncio.get_running_loop().set_task_factory(tasks_of_processes)
        log = _log()
        process = Process("zombie", Faults(random.Random(seed), slow=1.0, left=0))
        sending = process.spawn(FaultyAppender(log, process).append(_SENT), "append")
        await asyncio.sleep(4)
        process.kill()
        await asyncio.wait({sending})
        at_death = _values(log)
        await asyncio.sleep(10)
        return at_death, _values(log)

    seen = [run_virtually(append(seed), seed) for seed in _SEEDS]
    assert all(_is_a_first_part_of_each(written) for _, written in seen)
    assert any(before != after for before, after in seen)
    assert any(sum(map(len, after)) < len(_SENT) for _, after in seen)


@pytest.mark.parametrize("seed", range(10))
def test_a_zombies_commit_that_arrives_late_is_refused(seed: int) -> None:
    """It was on its way before another took the partition, and comes after: nothing of it counts."""

    async def commit() -> None:
        changelogs: dict[int, Changelog] = {}
        log = _log()
        faults = Faults(random.Random(seed), slow=0.0)
        zombie, heir = Process("zombie", faults), Process("heir", faults)
        before = await FaultyTables(MemoryGroup("group"), ["log"], log, changelogs, zombie).open(0)
        zombie.freeze()
        writing = asyncio.create_task(before.commit([("a", b"stale"), ("b", b"stale")]))
        await asyncio.sleep(1)
        after = await FaultyTables(MemoryGroup("group"), ["log"], log, changelogs, heir).open(0)
        zombie.thaw()
        await after.commit([("a", b"new")])
        with pytest.raises(Fenced):
            await writing
        assert changelogs[0].rows == {"a": b"new"}

    run_virtually(commit(), seed)


def test_a_live_read_goes_on_though_it_begins_late() -> None:
    async def read() -> list[bytes | None]:
        log = _log()
        process = Process("reader", Faults(random.Random(1), late=1.0))
        found: list[bytes | None] = []
        await log.append(_SENT)
        async with asyncio.timeout(60):
            async for records in FaultyReader(log, process).read("log", {0: 0}):
                found.extend(record.value for record in records)
                if found:
                    return found
        return found

    assert run_virtually(read(), 1) == [record.value for record in _SENT[::2]]
