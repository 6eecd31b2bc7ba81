"""What the driver promises a role (`ports.log.Role`), on a broker."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from beluga_stream.adapters.faust.app import RoleApp, RoleOptions, role_app
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.table import KafkaTables
from beluga_stream.errors import InvalidState
from beluga_stream.ports.log import Outgoing, TopicSpec
from tests.contract.recording import RecordingRole, eventually

QUICK = RoleOptions(commit_interval=0.05, session_timeout=6.0, drain_timeout=5.0)
EVERYTHING = frozenset(range(4))


@pytest.fixture
def connection(broker: str) -> KafkaConnection:
    return KafkaConnection.parse(broker)


@pytest.fixture
async def topics(connection: KafkaConnection, topic_prefix: str) -> tuple[str, ...]:
    names = tuple(f"{topic_prefix}{name}" for name in ("done", "events", "requests"))
    async with KafkaTopics(connection) as admin:
        await admin.ensure([TopicSpec(name, 4) for name in names])
    return names


@pytest.fixture
async def appender(connection: KafkaConnection) -> AsyncIterator[KafkaAppender]:
    async with KafkaAppender(connection) as appender:
        yield appender


@asynccontextmanager
async def running(
    role: RecordingRole,
    connection: KafkaConnection,
    *,
    instance: str | None = None,
    options: RoleOptions = QUICK,
) -> AsyncIterator[RoleApp]:
    group = f"{role.topics[0]}-group"
    app = role_app(role, group=group, broker=connection.faust_settings(), instance=instance, options=options)
    try:
        await app.start()
        yield app
    finally:
        await app.stop()


def committed(connection: KafkaConnection, topics: tuple[str, ...]) -> KafkaTables:
    return KafkaTables(connection, group=f"{topics[0]}-group", topics=topics, owner="test", changelog="unused")


async def begun(connection: KafkaConnection, topics: tuple[str, ...], offsets: list[int]) -> None:
    """Wait until the group has committed these offsets of the first topic."""
    async with committed(connection, topics) as tables:

        async def are_there() -> bool:
            return [(await tables.committed(number))[topics[0]] for number in range(len(offsets))] == offsets

        await eventually(are_there)


async def test_records_come_in_order_after_acquire_and_release_and_close_end_it(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    await appender.append([Outgoing(topics[0], f"{i % 50}".encode(), str(i).encode()) for i in range(5000)])
    role = RecordingRole(*topics)
    async with running(role, connection):
        assert role.calls[0] == ("acquire", EVERYTHING)
        await role.until(lambda: len(role.records) >= 5000)
        await appender.append(
            [Outgoing(topic, f"{i}".encode(), b"more", (("h", b"1"),)) for topic in topics for i in range(100)]
        )
        await role.until(lambda: len(role.records) >= 5300)
    assert role.calls == [("acquire", EVERYTHING), ("release", EVERYTHING)]
    assert role.closed
    assert len(role.batches) < 1000, "records were not delivered in batches"
    assert role.records[-1].headers == (("h", b"1"),)
    positions = [record.position for record in role.records]
    assert len(set(positions)) == 5300
    for topic in topics:
        for partition in range(4):
            offsets = [p.offset for p in positions if (p.topic, p.partition) == (topic, partition)]
            assert offsets == list(range(len(offsets)))
    async with committed(connection, topics) as tables:
        total = 0
        for partition in range(4):
            total += sum((await tables.committed(partition)).values())
        assert total == 5300


async def test_a_group_that_begins_at_the_end_loses_nothing_after_that(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    """Its beginning is durable before anything comes, so what comes while no process is there is read later."""
    options = replace(QUICK, begins_at_end=True)
    await appender.append([Outgoing(topics[0], b"k", b"old", partition=number % 4) for number in range(40)])
    async with running(RecordingRole(*topics), connection, options=options):
        await begun(connection, topics, [10] * 4)
    await appender.append([Outgoing(topics[0], b"k", b"new", partition=number % 4) for number in range(8)])
    role = RecordingRole(*topics)
    async with running(role, connection, options=options):
        await role.until(lambda: len(role.records) == 8)
    assert {record.value for record in role.records} == {b"new"}


async def test_a_partition_that_is_added_later_is_read_from_its_beginning(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender, real_broker: str
) -> None:
    options = replace(QUICK, begins_at_end=True)
    await appender.append([Outgoing(topics[0], b"k", b"old", partition=0)])
    role = RecordingRole(topics[0])
    async with running(role, connection, options=options):
        await begun(connection, topics, [1, 0, 0, 0])
        await appender.append([Outgoing(topics[0], b"k", b"seen", partition=0)])
        await role.until(lambda: len(role.records) == 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=real_broker)
    await admin.start()
    try:
        await admin.create_partitions({topics[0]: NewPartitions(5)})
    finally:
        await admin.close()
    async with KafkaAppender(connection) as knows_it:
        await knows_it.append([Outgoing(topics[0], b"k", b"added", partition=4)])
    role = RecordingRole(topics[0])
    async with running(role, connection, options=options):
        await role.until(lambda: len(role.records) == 1)
    assert [record.value for record in role.records] == [b"added"]


async def test_only_what_is_settled_is_acknowledged_and_in_order(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    role = RecordingRole(*topics, hold=True)
    async with running(role, connection), committed(connection, topics) as tables:
        for i in range(3):
            await appender.append([Outgoing(topics[0], b"k", str(i).encode(), partition=1)])
            await role.until(lambda: len(role.pending) == i + 1)  # noqa: B023 - awaited at once
        role.settle(1)
        role.settle(2)
        # The last record of another partition tells that a commit has happened since.
        await appender.append([Outgoing(topics[0], b"k", b"other", partition=0)])
        await role.until(lambda: len(role.pending) == 4)
        role.settle(3)

        async def other_committed() -> bool:
            return (await tables.committed(0))[topics[0]] == 1

        await eventually(other_committed)
        assert (await tables.committed(1))[topics[0]] == 0
        role.settle(0)

        async def all_committed() -> bool:
            return (await tables.committed(1))[topics[0]] == 3

        await eventually(all_committed)


async def test_offsets_without_a_record_are_passed_and_committed(
    connection: KafkaConnection, topics: tuple[str, ...], real_broker: str
) -> None:
    role = RecordingRole(*topics)
    async with running(role, connection), committed(connection, topics) as tables:
        writer = AIOKafkaProducer(bootstrap_servers=real_broker, transactional_id=f"{topics[0]}-writer")
        await writer.start()
        try:
            async with writer.transaction():
                await writer.send_and_wait(topics[0], b"v", partition=1)
        finally:
            await writer.stop()
        await role.until(lambda: bool(role.passes))
        assert [record.offset for record in role.records] == [0]
        assert role.passes == [(topics[0], 1, 2)]

        async def all_committed() -> bool:
            return (await tables.committed(1))[topics[0]] == 2

        await eventually(all_committed)


async def test_what_a_role_holds_back_waits_and_the_rest_flows(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    role = RecordingRole(*topics)
    async with running(role, connection):
        role.held_back = frozenset({topics[0]})
        # The fetch that is under way when the role says so may still bring something.
        await appender.append([Outgoing(topics[1], b"k", b"wake", partition=n) for n in range(4)])
        await role.until(lambda: len(role.records) == 4)
        await appender.append([Outgoing(topics[0], b"k", b"held", partition=n) for n in range(4)])
        await appender.append([Outgoing(topics[1], b"k", b"flows", partition=n) for n in range(4)])
        await role.until(lambda: [record.value for record in role.records].count(b"flows") == 4)
        assert b"held" not in [record.value for record in role.records]
        role.held_back = frozenset()
        await role.until(lambda: [record.value for record in role.records].count(b"held") == 4)


async def test_what_yields_waits_while_much_of_the_rest_does(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    role = RecordingRole(*topics)
    role.yielding = frozenset({topics[0]})
    many = 8_000
    await appender.append([Outgoing(topics[0], b"k", b"yields", partition=n % 4) for n in range(many)])
    await appender.append([Outgoing(topics[1], b"k", b"flows", partition=n % 4) for n in range(many)])
    async with running(role, connection):
        await role.until(lambda: len(role.records) == 2 * many)
    # The first fetch asks for everything: nothing is known of what waits before it.
    assert [record.value for record in role.records][:many].count(b"yields") <= many // 4


async def test_a_role_that_settles_nothing_is_not_flooded(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    role = RecordingRole(*topics, hold=True)
    options = RoleOptions(max_pending=3, commit_interval=0.05, drain_timeout=0.2)
    async with running(role, connection, options=options) as app:
        for i in range(40):
            await appender.append([Outgoing(topics[0], b"k", str(i).encode(), partition=1)])
        await role.until(lambda: len(role.pending) == 3)
        assert app.driver.acks.outstanding == 3
        taken = 0
        while taken < len(role.pending):
            role.settle(taken)
            taken += 1
            await asyncio.sleep(0)
            if len(role.records) < 40:
                await role.until(lambda: len(role.pending) > taken)  # noqa: B023 - awaited at once
            assert app.driver.acks.outstanding <= 3
        assert [int(record.value or b"") for record in role.records] == list(range(40))


async def test_what_a_killed_process_had_not_settled_comes_again(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender, broker: str
) -> None:
    topic = topics[0]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.role_process", broker, f"{topic}-group", topic, "one",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await appender.append([Outgoing(topic, str(i).encode(), str(i).encode()) for i in range(100)])
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while await process.stdout.readline() != b"taken 100\n":
                pass
    finally:
        process.kill()
        await process.wait()
    role = RecordingRole(topic)
    # The same instance comes back, so nobody waits for the dead one's session to end.
    async with running(role, connection, instance="one"):
        await role.until(lambda: len(role.records) >= 100)
    assert sorted(int(record.value or b"") for record in role.records) == list(range(100))


async def test_two_members_share_whole_partition_numbers(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender, real_broker: str
) -> None:
    first, second = RecordingRole(*topics), RecordingRole(*topics)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(first, connection))
        assert first.owned == EVERYTHING
        async with running(second, connection):
            await first.until(lambda: len(first.owned) == 2)
            assert ("release", EVERYTHING) in first.calls
            assert first.owned | second.owned == EVERYTHING
            assert not first.owned & second.owned
            sent = await appender.append(
                [Outgoing(topic, str(i).encode(), b"v") for topic in topics for i in range(200)]
            )
            await asyncio.gather(
                *(
                    role.until(
                        lambda role=role: (
                            len(role.records)  # type: ignore[misc]
                            >= sum(position.partition in role.owned for position in sent)
                        )
                    )
                    for role in (first, second)
                )
            )
            for role in (first, second):
                assert {(r.topic, r.partition) for r in role.records} == {(t, p) for t in topics for p in role.owned}
        await first.until(lambda: first.owned == EVERYTHING)
        await appender.append([Outgoing(topic, str(i).encode(), b"w") for topic in topics for i in range(200)])
        await first.until(lambda: sum(r.value == b"w" for r in first.records) >= 600)
    seen = [record.position for role in (first, second) for record in role.records]
    assert len(seen) == len(set(seen)) == 1200, "a rebalance in good order repeats nothing"


async def test_an_error_in_handle_ends_the_app_and_acknowledges_nothing(
    connection: KafkaConnection,
    topics: tuple[str, ...],
    appender: KafkaAppender,
    caplog: pytest.LogCaptureFixture,
) -> None:
    role = RecordingRole(*topics)
    role.raises = ValueError("broken")
    async with running(role, connection) as app:
        await appender.append([Outgoing(topics[0], b"k", b"v", partition=1)])
        async with asyncio.timeout(30):
            await app.wait_until_stopped()
        assert app.crash_reason is role.raises
        assert app.driver.failure is role.raises
    assert any(getattr(r, "action", "") == "role.failed" for r in caplog.records)
    async with committed(connection, topics) as tables:
        assert (await tables.committed(1))[topics[0]] == 0


async def test_an_error_in_what_is_awaited_later_ends_the_app_too(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    role = RecordingRole(*topics, hold=True)
    async with running(role, connection) as app:
        await appender.append([Outgoing(topics[0], b"k", b"v", partition=1)])
        await role.until(lambda: len(role.pending) == 1)
        role.pending[0].set_exception(ValueError("not durable"))
        async with asyncio.timeout(30):
            await app.wait_until_stopped()
        assert isinstance(app.crash_reason, ValueError)


async def test_an_agent_that_faust_stops_has_not_crashed(
    connection: KafkaConnection,
    topics: tuple[str, ...],
    appender: KafkaAppender,
    caplog: pytest.LogCaptureFixture,
) -> None:
    role = RecordingRole(*topics)
    async with running(role, connection) as app:
        await appender.append([Outgoing(topics[0], b"k", b"v")])
        await role.until(lambda: len(role.records) == 1)
        actors = [actor for agent in app.agents.values() for actor in agent._actors]
        for actor in actors:
            actor.cancel()
        await asyncio.wait([actor.actor_task for actor in actors], timeout=10)
        assert all(actor.actor_task.done() for actor in actors)
    assert "rashed" not in caplog.text


async def test_an_error_in_acquire_ends_the_app_before_any_record(
    connection: KafkaConnection, topics: tuple[str, ...], appender: KafkaAppender
) -> None:
    class Refuses(RecordingRole):
        async def acquire(self, partitions: frozenset[int]) -> None:
            raise ValueError("no")

    await appender.append([Outgoing(topics[0], b"k", b"v")])
    role = Refuses(*topics)
    app = role_app(role, group=f"{topics[0]}-group", broker=connection.faust_settings(), options=QUICK)
    starting = asyncio.create_task(app.start())
    async with asyncio.timeout(30):
        while app.crash_reason is None:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)
    await asyncio.wait([starting], timeout=10)
    await app.stop()
    assert role.records == []


async def test_the_table_of_runs_reads_like_a_mapping_and_is_written_by_commits_only(
    connection: KafkaConnection, topics: tuple[str, ...], topic_prefix: str
) -> None:
    changelog = f"{topic_prefix}changelog"
    async with KafkaTopics(connection) as admin:
        await admin.ensure([TopicSpec(changelog, 4, {"cleanup.policy": "compact"})])
    group = f"{topics[0]}-group"
    async with KafkaTables(connection, group=group, topics=topics, owner="one", changelog=changelog) as tables:

        class Owner(RecordingRole):
            async def acquire(self, partitions: frozenset[int]) -> None:
                await asyncio.gather(*(tables.open(partition) for partition in partitions))
                await super().acquire(partitions)

            async def release(self, partitions: frozenset[int]) -> None:
                await asyncio.gather(*(tables.opened[partition].close() for partition in partitions))
                await super().release(partitions)

        app = role_app(Owner(*topics), group=group, broker=connection.faust_settings(), tables=tables, options=QUICK)
        await app.start()
        try:
            await tables.opened[2].commit([("run-1", b"state"), ("run-2", b"other")])
            runs = app.tables["runs"]
            assert runs["run-1"] == b"state"
            assert "run-2" in runs
            assert "run-3" not in runs
            assert dict(runs.items()) == {"run-1": b"state", "run-2": b"other"}
            assert len(runs) == 2
            assert runs.changelog_topic_name == changelog
            with pytest.raises(KeyError):
                runs["run-3"]
            with pytest.raises(InvalidState, match="commits only"):
                runs["run-1"] = b"x"
            with pytest.raises(InvalidState):
                del runs["run-1"]
        finally:
            await app.stop()
        assert dict(tables.opened) == {}
