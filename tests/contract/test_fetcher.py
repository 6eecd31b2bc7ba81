"""A consumer that fetches promptly brings what aiokafka's does, hears of what goes wrong, and leaves nothing."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError, KafkaError
from aiokafka.protocol.fetch import FetchRequest

from beluga_stream.adapters.kafka.consumer import PromptConsumer
from beluga_stream.adapters.kafka.fetch_session import in_sessions
from beluga_stream.adapters.kafka.fetcher import _TURNS, PromptFetcher

PARTITIONS = 4
_WITHIN = 60.0


def a_consumer(broker: str, *topics: str, **options: Any) -> PromptConsumer:
    return PromptConsumer(
        *topics, bootstrap_servers=broker, fetch_max_wait_ms=50, auto_offset_reset="earliest", **options
    )


@pytest.fixture(params=[in_sessions, lambda consumer: consumer], ids=["in sessions", "without"])
async def consumer(request: pytest.FixtureRequest, broker: str, topic: str) -> AsyncIterator[PromptConsumer]:
    wrap: Callable[[PromptConsumer], PromptConsumer] = request.param
    made = wrap(a_consumer(broker))
    await made.start()
    made.assign(targets(topic))
    yield made
    await made.stop()


def targets(topic: str, *partitions: int) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in partitions or range(PARTITIONS)]


async def write(producer: AIOKafkaProducer, topic: str, count: int, *partitions: int) -> None:
    for number in partitions or range(PARTITIONS):
        await asyncio.gather(*[await producer.send(topic, b"%d" % place, partition=number) for place in range(count)])


async def read(consumer: PromptConsumer, count: int) -> dict[int, list[int]]:
    """The offsets of the next records, by partition."""
    found: dict[int, list[int]] = {}
    async with asyncio.timeout(_WITHIN):
        while sum(map(len, found.values())) < count:
            for target, records in (await consumer.getmany(timeout_ms=1000, max_records=5)).items():
                found.setdefault(target.partition, []).extend(record.offset for record in records)
    return found


class Held:
    """Holds back the answers that bring something, until the test lets them go."""

    def __init__(self, consumer: PromptConsumer) -> None:
        self.answered = asyncio.Event()
        self.go = asyncio.Event()
        client: Any = consumer._client
        self._send, client.send = client.send, self.send

    async def send(self, node: int, request: Any, **more: Any) -> Any:
        answer = await self._send(node, request, **more)
        if isinstance(request, FetchRequest) and any(part[-1] for _, parts in answer.topics for part in parts):
            self.answered.set()
            await self.go.wait()
        return answer


def failing(consumer: PromptConsumer, error: BaseException) -> "asyncio.Queue[None]":
    """Let every fetch of it fail; the queue tells of each."""
    failed: asyncio.Queue[None] = asyncio.Queue()
    client: Any = consumer._client
    send = client.send

    async def fails(node: int, request: Any, **more: Any) -> Any:
        if isinstance(request, FetchRequest):
            failed.put_nowait(None)
            raise error
        return await send(node, request, **more)

    client.send = fails
    return failed


def asking(consumer: PromptConsumer) -> "asyncio.Queue[tuple[int, int]]":
    """The queue tells of every fetch for how many partitions it asks, and how long it may be held, in milliseconds."""
    asked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    client: Any = consumer._client
    send = client.send

    async def asks(node: int, request: Any, **more: Any) -> Any:
        if isinstance(request, FetchRequest):
            asked.put_nowait((sum(len(parts) for _, parts in request.topics), request._max_wait_ms))
        return await send(node, request, **more)

    client.send = asks
    return asked


# ----------------------------------------------------------------------------------- what it brings
async def test_all_records_come_in_order_and_once(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    writing = asyncio.create_task(write(producer, topic, 200))
    assert await read(consumer, 200 * PARTITIONS) == {number: list(range(200)) for number in range(PARTITIONS)}
    await writing
    assert isinstance(consumer._fetcher, PromptFetcher)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_whatever_the_writer_has_compressed_with_is_read(
    broker: str, consumer: PromptConsumer, topic: str, codec: str
) -> None:
    writer = AIOKafkaProducer(bootstrap_servers=broker, compression_type=codec, linger_ms=50)
    await writer.start()
    try:
        await write(writer, topic, 100)
    finally:
        await writer.stop()
    assert await read(consumer, 100 * PARTITIONS) == {number: list(range(100)) for number in range(PARTITIONS)}


async def test_a_position_past_the_end_goes_on_with_what_comes_next(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await write(producer, topic, 5, 1)
    consumer.seek(targets(topic, 1)[0], 12)
    async with asyncio.timeout(_WITHIN):
        while await consumer.position(targets(topic, 1)[0]) != 5:
            assert all(not records for records in (await consumer.getmany(timeout_ms=1000)).values())
    await write(producer, topic, 3, 1)
    assert await read(consumer, 3) == {1: [5, 6, 7]}
    assert f"{topic}/1 ends at 5 and was read up to 12 already" in caplog.text


async def test_what_an_administrator_deletes_is_passed_over_and_that_is_told(
    real_broker: str, producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    (target,) = targets(topic, 1)
    await write(producer, topic, 5, 1)
    assert await read(consumer, 5) == {1: [0, 1, 2, 3, 4]}
    await write(producer, topic, 5, 1)
    consumer.seek(target, 5)
    consumer.pause(target)
    admin = AIOKafkaAdminClient(bootstrap_servers=real_broker)
    await admin.start()
    try:
        await admin.delete_records({target: RecordsToDelete(before_offset=10)})
    finally:
        await admin.close()
    consumer.resume(target)
    async with asyncio.timeout(_WITHIN):
        while not (fetched := await consumer.getmany(timeout_ms=1000)):
            pass
    assert fetched == {target: []}
    assert await consumer.position(target) == 10


async def test_the_marks_of_a_transaction_move_the_position_and_that_is_told(
    real_broker: str, consumer: PromptConsumer, topic: str
) -> None:
    (target,) = targets(topic, 2)
    writer = AIOKafkaProducer(bootstrap_servers=real_broker, transactional_id=f"{topic}-writer")
    await writer.start()
    try:
        async with writer.transaction():
            await writer.send_and_wait(topic, b"1", partition=2)
    finally:
        await writer.stop()
    assert await read(consumer, 1) == {2: [0]}
    async with asyncio.timeout(_WITHIN):
        while await consumer.position(target) != 2:
            assert all(not records for records in (await consumer.getmany(timeout_ms=1000)).values())


@pytest.mark.parametrize("wrap", [in_sessions, lambda consumer: consumer], ids=["in sessions", "without"])
async def test_who_wants_what_is_committed_gets_that_alone(
    real_broker: str, producer: AIOKafkaProducer, topic: str, wrap: Callable[[PromptConsumer], PromptConsumer]
) -> None:
    (target,) = targets(topic, 2)
    consumer = wrap(a_consumer(real_broker, isolation_level="read_committed"))
    writer = AIOKafkaProducer(bootstrap_servers=real_broker, transactional_id=f"{topic}-writer")
    await writer.start()
    await consumer.start()
    try:
        consumer.assign([target])
        for ends in (writer.abort_transaction, writer.commit_transaction):
            await writer.begin_transaction()
            await writer.send_and_wait(topic, b"in it", partition=2)
            await producer.send_and_wait(topic, b"beside it", partition=2)
            await ends()
        assert await read(consumer, 3) == {2: [1, 3, 4]}
        await writer.begin_transaction()
        await writer.send_and_wait(topic, b"open", partition=2)
        await producer.send_and_wait(topic, b"behind it", partition=2)
        assert await consumer.end_offsets([target]) == {target: 6}
        await writer.commit_transaction()
        assert await read(consumer, 2) == {2: [6, 7]}
    finally:
        await consumer.stop()
        await writer.stop()


async def test_a_single_record_is_brought_to_who_waits_for_it(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    waiting = asyncio.create_task(consumer.getone())
    await write(producer, topic, 1, 2)
    async with asyncio.timeout(_WITHIN):
        assert (await waiting).partition == 2


async def test_the_next_fetch_waits_for_some_turns_though_all_has_been_taken(
    consumer: PromptConsumer, topic: str, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes it wakes the fetcher, before what it leads to is written."""
    fetcher = consumer._fetcher
    loop = asyncio.get_running_loop()
    turn, brought = 0, -1
    waited: list[int] = []
    done, begin = fetcher._done, fetcher._begin

    def has_done(node: int, task: "asyncio.Task[bool]") -> None:
        nonlocal brought
        if not task.cancelled() and task.result():
            brought = turn
        done(node, task)

    def begins(node: int, work: Any) -> None:
        nonlocal brought
        if brought >= 0:
            waited.append(turn - brought)
            brought = -1
        begin(node, work)

    def count() -> None:
        nonlocal turn
        turn += 1
        if not waited:
            loop.call_soon(count)

    await write(producer, topic, 1)
    await read(consumer, PARTITIONS)
    taking = asyncio.create_task(read(consumer, 1))
    monkeypatch.setattr(fetcher, "_done", has_done)
    monkeypatch.setattr(fetcher, "_begin", begins)
    loop.call_soon(count)
    await write(producer, topic, 1, 1)
    async with asyncio.timeout(_WITHIN):
        await taking
        while not waited:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0)
    assert waited[0] >= _TURNS


async def test_what_is_paused_is_not_asked_for_until_it_is_resumed(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    await write(producer, topic, 3)
    await read(consumer, 3 * PARTITIONS)
    consumer.pause(*targets(topic, 0, 3))
    await write(producer, topic, 3)
    assert await read(consumer, 6) == {1: [3, 4, 5], 2: [3, 4, 5]}
    consumer.resume(*targets(topic, 3))
    assert await read(consumer, 3) == {3: [3, 4, 5]}
    consumer.resume(*targets(topic, 0))
    assert await read(consumer, 3) == {0: [3, 4, 5]}


async def test_a_fetch_that_leaves_something_out_is_not_held_for_long(broker: str, topic: str) -> None:
    """What it leaves out cannot be asked for before it is answered."""
    consumer = PromptConsumer(bootstrap_servers=broker, fetch_max_wait_ms=200, auto_offset_reset="earliest")
    await consumer.start()
    try:
        asked = asking(consumer)

        async def wait_of_the_next_for(partitions: int) -> int:
            async with asyncio.timeout(_WITHIN):
                while True:
                    count, wait_ms = await asked.get()
                    if count == partitions:
                        return wait_ms

        consumer.assign(targets(topic))
        assert await wait_of_the_next_for(PARTITIONS) == 200
        consumer.pause(*targets(topic, 2))
        assert await wait_of_the_next_for(PARTITIONS - 1) == 50
        consumer.resume(*targets(topic, 2))
        assert await wait_of_the_next_for(PARTITIONS) == 200
    finally:
        await consumer.stop()


async def test_all_that_are_paused_wake_it_at_once(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    fetcher: Any = consumer._fetcher
    fetcher._fetcher_timeout = 3600.0  # nothing but what is told wakes it
    await write(producer, topic, 1)
    await read(consumer, PARTITIONS)
    consumer.pause(*targets(topic))
    await write(producer, topic, 1)
    while fetcher._pending_tasks:  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(0)
    consumer.resume(*targets(topic))
    assert await read(consumer, PARTITIONS) == {number: [1] for number in range(PARTITIONS)}


async def test_a_long_pause_costs_nothing_that_grows(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    """While others are fetched, each round may ask what is paused to tell when it is wanted again."""
    fetcher: Any = consumer._fetcher
    consumer.pause(*targets(topic, 0))
    for number in range(30):
        while not fetcher._in_flight:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0)
        consumer.seek(TopicPartition(topic, 2), 0)  # which wakes it
        await write(producer, topic, 1, 1)
        assert await read(consumer, 1) == {1: [number]}
    state = consumer._subscription.subscription.assignment.state_value(TopicPartition(topic, 0))
    assert len(state.resume_fut._callbacks) == 1


async def test_a_place_that_is_sought_while_a_fetch_is_under_way_is_read_from(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    held = Held(consumer)
    consumer.assign(targets(topic))  # what was under way before is dropped
    await write(producer, topic, 10, 1)
    async with asyncio.timeout(_WITHIN):
        await held.answered.wait()
    consumer.seek(TopicPartition(topic, 1), 7)
    held.go.set()
    assert await read(consumer, 3) == {1: [7, 8, 9]}


async def test_another_assignment_begins_anew_and_brings_nothing_of_the_former(
    producer: AIOKafkaProducer, consumer: PromptConsumer, topic: str
) -> None:
    held = Held(consumer)
    consumer.assign(targets(topic))  # what was under way before is dropped
    await write(producer, topic, 5)
    async with asyncio.timeout(_WITHIN):
        await held.answered.wait()
    consumer.assign(targets(topic, 2))
    held.go.set()
    assert await read(consumer, 5) == {2: list(range(5))}
    consumer.unsubscribe()
    await write(producer, topic, 2)
    consumer.assign(targets(topic, 1, 2))
    consumer.seek(TopicPartition(topic, 2), 5)
    assert await read(consumer, 9) == {1: list(range(7)), 2: [5, 6]}


async def test_a_group_shares_its_partitions_and_loses_nothing(
    broker: str, producer: AIOKafkaProducer, topic: str
) -> None:
    """Nor does it bring anything twice: what has been read is committed before each change."""
    settings: dict[str, Any] = {"group_id": f"{topic}-group", "enable_auto_commit": False, "heartbeat_interval_ms": 200}
    first, second = (in_sessions(a_consumer(broker, topic, **settings)) for _ in range(2))
    await first.start()
    try:
        await write(producer, topic, 10)
        assert await read(first, 10 * PARTITIONS) == {number: list(range(10)) for number in range(PARTITIONS)}
        await first.commit()
        await second.start()
        async with asyncio.timeout(_WITHIN):
            while not (first.assignment() and second.assignment() and len(first.assignment()) < PARTITIONS):
                assert await first.getmany(timeout_ms=100) == {}
        await write(producer, topic, 10)
        found = await asyncio.gather(*(read(each, 10 * len(each.assignment())) for each in (first, second)))
        assert found[0] | found[1] == {number: list(range(10, 20)) for number in range(PARTITIONS)}
        assert not found[0].keys() & found[1].keys()
        await second.commit()
        await first.commit()
    finally:
        await second.stop()
        await first.stop()


# ------------------------------------------------------------------------------------ how it ends
async def test_who_waits_for_records_hears_that_it_was_stopped(broker: str, topic: str) -> None:
    consumer = a_consumer(broker)
    await consumer.start()
    consumer.assign(targets(topic))
    one, many = asyncio.create_task(consumer.getone()), asyncio.create_task(consumer.getmany(timeout_ms=60_000))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await consumer.stop()
        assert await many == {}
        with pytest.raises(ConsumerStoppedError):
            await one


async def test_a_broker_that_is_away_is_asked_four_times_a_second(broker: str, topic: str) -> None:
    """A process has four consumers and more; and whoever waits for what comes when it is back waits no longer."""
    consumer = a_consumer(broker)
    await consumer.start()
    try:
        loop = asyncio.get_running_loop()
        failed = failing(consumer, KafkaConnectionError())
        consumer.assign(targets(topic))
        for target in targets(topic):
            consumer.seek(target, 0)  # asking where a new topic begins may fail, and is tried again at another pace
        moments: list[float] = []
        async with asyncio.timeout(_WITHIN):
            for _ in range(4):
                await failed.get()
                moments.append(loop.time())
        assert all(after - before > 0.2 for before, after in itertools.pairwise(moments))
    finally:
        await consumer.stop()


async def test_it_is_stopped_while_a_fetch_waits_for_its_next_try(broker: str, topic: str) -> None:
    consumer = a_consumer(broker, retry_backoff_ms=60_000)
    await consumer.start()
    failed = failing(consumer, KafkaConnectionError())
    consumer.assign(targets(topic))
    for target in targets(topic):
        consumer.seek(target, 0)  # asking where a new topic begins may fail, and would be tried again in a minute
    async with asyncio.timeout(10):
        await failed.get()
        await consumer.stop()
    client: Any = consumer._client
    assert not any(connection.connected() for connection in client._conns.values())


async def test_it_is_started_while_a_fetch_waits_for_its_next_try(
    broker: str, producer: AIOKafkaProducer, topic: str
) -> None:
    """Topics that were named before are fetched by the fetcher that is replaced."""
    await write(producer, topic, 1)
    consumer = a_consumer(broker, retry_backoff_ms=60_000, group_id=f"{topic}-group")
    client: Any = consumer._client
    send = client.send
    failed = failing(consumer, KafkaConnectionError())
    consumer.subscribe([topic], listener=None)
    coordinated = consumer._subscription.wait_for_assignment
    waits = 0

    async def after_a_fetch() -> None:
        await coordinated()
        await failed.get()

    def wait_for_assignment() -> Any:
        nonlocal waits
        waits += 1
        return coordinated() if waits == 1 else after_a_fetch()  # the first who waits is the fetcher

    consumer._subscription.wait_for_assignment = wait_for_assignment
    try:
        async with asyncio.timeout(_WITHIN):
            await consumer.start()
        assert waits == 2
        consumer._subscription.wait_for_assignment = coordinated
        client.send = send
        assert await read(consumer, PARTITIONS) == {number: [0] for number in range(PARTITIONS)}
    finally:
        await consumer.stop()


async def test_what_nobody_expects_ends_the_consumer_and_who_waits_hears_of_it(
    broker: str, topic: str, unheard: list[str]
) -> None:
    """Else it would wait for ever for what nobody fetches."""
    consumer = a_consumer(broker)
    await consumer.start()
    try:
        one = asyncio.create_task(consumer.getone())
        failing(consumer, ValueError("what is this"))
        consumer.assign(targets(topic))
        async with asyncio.timeout(10):
            with pytest.raises(KafkaError, match="what is this"):
                await consumer.getmany(timeout_ms=60_000)
            with pytest.raises(KafkaError, match="what is this"):
                await one
            with pytest.raises(KafkaError, match="what is this"):
                await consumer.getmany(timeout_ms=60_000)
    finally:
        await consumer.stop()
    client: Any = consumer._client
    assert not any(connection.connected() for connection in client._conns.values())
    gc.collect()
    assert unheard == []
