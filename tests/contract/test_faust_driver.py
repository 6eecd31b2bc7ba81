"""The driver's own promises, without a broker: turns, epochs, bounds."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from beluga_stream.adapters.faust.driver import Batch, RoleDriver
from beluga_stream.errors import TimedOut
from tests.contract.recording import RecordingRole

BOTH = frozenset({0, 1})


def batch(driver: RoleDriver, partition: int, *offsets: int) -> Batch:
    records = [
        SimpleNamespace(topic="t", partition=partition, offset=o, key=b"k", value=b"v", timestamp=1, headers=())
        for o in offsets
    ]
    return Batch(TP("t", partition), driver.epoch, records, end=offsets[-1] + 1)


async def owning(role: RecordingRole, **bounds: float) -> tuple[RoleDriver, list[BaseException]]:
    driver = RoleDriver(role, "group", **bounds)  # type: ignore[arg-type]
    failures: list[BaseException] = []
    driver.on_failure = failures.append
    epoch = await driver.acquire(BOTH)
    assert epoch is not None
    driver.begin(epoch)
    return driver, failures


async def commit_nothing() -> None:
    return


async def test_batches_of_an_older_ownership_are_dropped() -> None:
    role = RecordingRole("t")
    driver, _ = await owning(role)
    stale = batch(driver, 0, 1, 2)
    await driver.release(commit_nothing)
    epoch = await driver.acquire(BOTH)
    assert epoch is not None
    await driver.take([stale])
    assert role.records == []
    driver.begin(epoch)
    await driver.take([stale, batch(driver, 1, 7)])
    assert [record.offset for record in role.records] == [7]
    assert driver.acks.to_commit() == {TP("t", 1): 8}


async def test_offsets_without_a_record_are_told_of_and_acknowledged_in_order() -> None:
    role = RecordingRole("t", hold=True)
    driver, _ = await owning(role)
    await driver.take([batch(driver, 0, 1, 2)._replace(end=5), batch(driver, 1, 7)])
    assert role.passes == [("t", 0, 5)]
    await driver.take([Batch(TP("t", 0), driver.epoch, [], end=6), Batch(TP("t", 1), driver.epoch, [], end=9)])
    assert role.passes == [("t", 0, 5), ("t", 0, 6), ("t", 1, 9)]
    await driver.take([batch(driver, 1, 9)._replace(end=11), batch(driver, 1, 12)])
    assert len(role.passes) == 3, "what lies between two records is passed with the second"
    assert driver.acks.to_commit() == {}
    role.settle(0)
    await asyncio.sleep(0)
    assert driver.acks.to_commit() == {TP("t", 0): 6, TP("t", 1): 9}
    role.settle(1)
    await asyncio.sleep(0)
    assert driver.acks.to_commit() == {TP("t", 0): 6, TP("t", 1): 13}


async def test_a_log_that_has_become_shorter_is_acknowledged_from_there_on() -> None:
    driver, _ = await owning(RecordingRole("t"))
    await driver.take([batch(driver, 0, 9)])
    driver.acks.committed(driver.acks.to_commit())
    assert driver.acks.to_commit() == {}
    await driver.take([Batch(TP("t", 0), driver.epoch, [], end=4)])
    assert driver.acks.to_commit() == {TP("t", 0): 4}


async def test_a_gate_of_an_older_ownership_does_not_open() -> None:
    driver, _ = await owning(RecordingRole("t"))
    old = driver.epoch
    await driver.release(commit_nothing)
    driver.begin(old)
    assert not driver.delivering.is_set()


async def test_release_cancels_an_acquire_that_is_under_way() -> None:
    class Slow(RecordingRole):
        async def acquire(self, partitions: frozenset[int]) -> None:
            self.calls.append(("acquire", partitions))
            self._news.set()
            await asyncio.Event().wait()

    role = Slow("t")
    driver = RoleDriver(role, "group")
    acquiring = asyncio.create_task(driver.acquire(BOTH))
    await role.until(lambda: bool(role.calls))
    await driver.release(commit_nothing)
    assert await acquiring is None
    assert role.calls == [("acquire", BOTH), ("release", BOTH)]
    assert driver.failure is None


async def test_a_role_that_does_not_release_in_time_fails() -> None:
    class Stuck(RecordingRole):
        async def release(self, partitions: frozenset[int]) -> None:
            await asyncio.Event().wait()

    driver, failures = await owning(Stuck("t"), drain_timeout=0.05)
    await driver.release(commit_nothing)
    assert [type(error) for error in failures] == [TimedOut]


async def test_what_is_unsettled_after_the_bound_is_left_to_the_next_owner(
    caplog: pytest.LogCaptureFixture,
) -> None:
    role = RecordingRole("t", hold=True)
    driver, failures = await owning(role, drain_timeout=0.05)
    await driver.take([batch(driver, 0, 0)])
    await driver.take([batch(driver, 0, 1)])
    role.settle(0)
    await asyncio.sleep(0)
    seen: list[dict[TP, int]] = []

    async def commit() -> None:
        seen.append(driver.acks.to_commit())

    await driver.release(commit)
    assert seen == [{TP("t", 0): 1}]
    assert failures == []
    assert any(getattr(r, "action", "") == "role.undrained" for r in caplog.records)
    role.settle(1)
    await asyncio.sleep(0)
    assert driver.acks.to_commit() == {}


async def test_after_a_failure_nothing_is_taken_or_acknowledged() -> None:
    role = RecordingRole("t", hold=True)
    driver, failures = await owning(role)
    await driver.take([batch(driver, 0, 0)])
    await driver.take([batch(driver, 1, 0)])
    role.pending[0].set_exception(ValueError("lost"))
    role.settle(1)
    await asyncio.sleep(0)
    assert [str(error) for error in failures] == ["lost"]
    assert driver.acks.to_commit() == {}
    await driver.take([batch(driver, 1, 1)])
    assert len(role.records) == 2
    assert await driver.acquire(BOTH) is None
