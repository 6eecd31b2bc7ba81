"""The driver of a log in memory: what the one for Kafka does by itself, it must not forget."""

import asyncio

from beluga_stream.adapters.memory.driver import MemoryDriver
from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.ports.log import Outgoing, TopicSpec
from tests.contract.recording import RecordingRole


async def test_what_was_held_back_is_taken_when_it_is_wanted_again_though_nothing_else_happens() -> None:
    log = MemoryLog()
    log.create([TopicSpec("work", 1)])
    await log.append([Outgoing("work", b"k", b"v", partition=0)])
    role = RecordingRole("work")
    role.held_back = frozenset({"work"})
    driver = MemoryDriver(role, log, MemoryGroup("workers"))
    await driver.assign(frozenset({0}), 0)
    driving = asyncio.create_task(driver.run())
    try:
        for _ in range(5):
            await asyncio.sleep(0)
        assert role.records == []
        role.held_back = frozenset()
        async with asyncio.timeout(10):
            await role.until(lambda: len(role.records) == 1)
    finally:
        driving.cancel()
        await asyncio.wait({driving})
