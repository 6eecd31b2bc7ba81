"""A fetch that begins under one ownership and ends under another loses nothing, whenever it ends."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition

from beluga_stream.adapters.faust.delivery import RoleConsumer
from beluga_stream.adapters.faust.driver import RoleDriver
from beluga_stream.ports.log import Record

_PLACE = TopicPartition("node-done", 1)


class _Fetched(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    timestamp_type: int = 0


class _Log:
    """One partition that the group has committed nothing of, as a consumer of aiokafka shows it."""

    def __init__(self, records: int) -> None:
        self.assigned = {_PLACE}
        self.fetched = asyncio.Event()
        self.may_end = asyncio.Event()
        self._end = records
        self._position = 0

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    def paused(self) -> set[TopicPartition]:
        return set()

    async def committed(self, target: TopicPartition) -> int | None:
        return 0

    def take(self) -> None:
        """The fetch that is under way has what follows on the last seek."""
        self._position = self._end

    def seek(self, target: TopicPartition, offset: int) -> None:
        assert target in self.assigned
        self._position = offset

    async def getmany(self, *wanted: TopicPartition, **_: Any) -> Mapping[TopicPartition, Sequence[_Fetched]]:
        records = [_Fetched(*_PLACE, offset) for offset in range(self._position, self._end)]
        self.take()
        self.fetched.set()
        await self.may_end.wait()
        await asyncio.sleep(0)
        return {_PLACE: records} if records else {}


class _Taking:
    """A role that takes what comes."""

    topics = ("node-done",)
    held_back: frozenset[str] = frozenset()
    yielding: frozenset[str] = frozenset()

    async def acquire(self, partitions: frozenset[int]) -> None: ...

    async def release(self, partitions: frozenset[int]) -> None: ...

    async def handle(self, records: Sequence[Record]) -> None: ...

    def passed(self, topic: str, partition: int, offset: int) -> None: ...

    async def tend(self) -> None: ...

    async def close(self) -> None: ...


class _Consumer(RoleConsumer):
    """Only its loop, over this log; what it delivers is noted."""

    def __init__(self, log: _Log) -> None:
        conf = SimpleNamespace(broker_max_poll_records=100, broker_request_timeout=5.0)
        self.app: Any = SimpleNamespace(
            driver=RoleDriver(_Taking(), "group"), conf=conf, should_stop=False, begins_at_end=False
        )
        self._thread: Any = SimpleNamespace(_ensure_consumer=lambda: log)
        self._dropped = False
        self._known = frozenset()
        self.stopping = False
        self.delivered: list[int] = []

    @property
    def should_stop(self) -> bool:
        return self.stopping

    async def wait_for_stopped(self, *events: Any, **_: Any) -> bool:
        await events[0].wait()
        return False

    async def _deliver(self, fetched: Mapping[TopicPartition, list[Any]], epoch: int) -> None:
        self.delivered += [record.offset for records in fetched.values() for record in records]
        self.stopping = bool(fetched)


async def _nothing() -> None: ...


@pytest.mark.parametrize("ends", ["before the new ownership seeks", "after that", "when it has begun"])
async def test_what_a_fetch_across_a_rebalance_has_brought_is_delivered_by_the_next_ownership(ends: str) -> None:
    log = _Log(records=3)
    consumer = _Consumer(log)
    driver = consumer.driver
    begun = await driver.acquire(frozenset({1}))
    assert begun is not None
    driver.begin(begun)
    draining = asyncio.create_task(consumer._drain_messages(SimpleNamespace(should_stop=False)))  # type: ignore[arg-type]
    await log.fetched.wait()

    async def end() -> None:
        log.may_end.set()
        for _ in range(3):
            await asyncio.sleep(0)

    await driver.release(_nothing)
    next_one = await driver.acquire(frozenset({1}))
    assert next_one is not None
    if ends == "before the new ownership seeks":
        await end()
    await consumer.perform_seek()
    if ends == "after that":
        log.take()
        await end()
    driver.begin(next_one)
    if ends == "when it has begun":
        log.take()
        await end()
    await asyncio.wait_for(draining, 5)
    assert consumer.delivered == [0, 1, 2]


async def test_what_is_not_assigned_any_more_is_not_sought() -> None:
    log = _Log(records=1)
    consumer = _Consumer(log)
    seeking = asyncio.create_task(consumer.perform_seek())
    log.assigned = set()
    await seeking
