"""What we lean on inside aiokafka. A failure means a new version: look at `fence.py` and `batches.py`."""

import asyncio
import inspect
import itertools

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import NotEnoughReplicasAfterAppendError, NotEnoughReplicasError
from aiokafka.partitioner import DefaultPartitioner, murmur2
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.producer.transaction_manager import TransactionManager

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.producer import PatientProducer
from beluga_stream.application.partitioner import partition_of


async def test_a_producer_without_its_transactional_id_sends_plain_batches() -> None:
    producer = AIOKafkaProducer(transactional_id="some-id")
    manager = producer._txn_manager
    assert isinstance(manager, TransactionManager)
    assert manager.transactional_id == "some-id"
    manager.transactional_id = None
    batch = producer.create_batch()
    assert isinstance(batch, BatchBuilder)
    batch.append(timestamp=1, key=b"k", value=b"v", headers=[])
    attributes = int.from_bytes(batch._build()[21:23], "big")
    assert attributes & 0x10 == 0, "the batch is marked as transactional"
    await producer.stop()


def test_the_id_is_asked_for_once_before_the_sender_runs() -> None:
    start = inspect.getsource(Sender.start)
    assert start.index("_maybe_wait_for_pid") < start.index("create_task")
    assert "transactional_id is not None" in inspect.getsource(AIOKafkaProducer.send_batch)
    assert "transactional_id is None" in inspect.getsource(TransactionManager.maybe_add_partition_to_txn)


def test_one_batch_of_a_partition_is_under_way_at_a_time() -> None:
    """`KafkaAppender` sends together what comes meanwhile; without this limit it would not need to."""
    assert "wait_drain" in inspect.getsource(MessageAccumulator.add_batch)


def test_keys_go_where_every_other_client_sends_them() -> None:
    partitioner = DefaultPartitioner()
    for key in (b"run-1", b"\x00\xff", b"a" * 100):
        assert partition_of(key, 7) == partitioner(key, list(range(7)), [])
    assert murmur2(b"21") == -973932308 & 0xFFFFFFFF or murmur2(b"21") == -973932308


def test_a_fetch_that_waits_for_its_next_try_breaks_the_end_of_its_consumer() -> None:
    """`closing.py` does what is left; once this is mended in aiokafka it is not needed any more."""
    closes = inspect.getsource(Fetcher.close)
    assert "for x in self._pending_tasks" in closes
    assert "await x" in closes
    stop = inspect.getsource(AIOKafkaConsumer.stop)
    assert stop.index("self._fetcher.close()") < stop.index("self._client.close()")


def test_a_batch_that_too_few_replicas_have_is_sent_again() -> None:
    """As long as there is patience, and under its old number: so `min.insync.replicas` is waited for."""
    assert NotEnoughReplicasError.retriable
    assert NotEnoughReplicasAfterAppendError.retriable
    can_retry = inspect.getsource(SendProduceReqHandler._can_retry)
    assert "_txn_manager is None and batch.expired()" in can_retry
    assert "return error.retriable" in can_retry


async def test_a_batch_is_kept_and_its_leader_asked_for_as_patience_says() -> None:
    """`producer.py` changes how long and how often; both are private, and used where it thinks they are."""
    assert "_batch_ttl" in inspect.getsource(MessageAccumulator._append_batch)
    assert "expired()" in inspect.getsource(MessageAccumulator.drain_by_nodes)
    assert "self.client.force_metadata_update()" in inspect.getsource(Sender._sender_routine)
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=123.0, max_record_bytes=1000)
    assert producer._message_accumulator._batch_ttl == 123.0
    await producer.stop()


async def test_metadata_is_asked_for_at_a_pace() -> None:
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    asked: list[float] = []
    loop = asyncio.get_running_loop()

    async def update() -> bool:
        asked.append(loop.time())
        return True

    producer._update = lambda: asyncio.ensure_future(update())
    for _ in range(3):
        assert await producer.client.force_metadata_update()
    assert [after - before >= 0.19 for before, after in itertools.pairwise(asked)] == [True, True]
    await producer.stop()


async def test_a_topic_that_is_written_to_for_the_first_time_is_asked_for_at_once() -> None:
    """The pace would cost each of a process's first writes 0.2 s."""
    source = inspect.getsource(AIOKafkaClient._wait_on_metadata)
    assert source.index("self.add_topic(topic)") < source.index("await self.force_metadata_update()")
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    asked = _listening_to(producer)
    await producer.client.force_metadata_update()
    for topic in ("one", "two"):
        producer.client.add_topic(topic)
        producer.client.add_topic(topic)
    assert len(asked) == 3
    await producer.stop()


async def test_a_question_that_is_under_way_is_joined() -> None:
    producer = PatientProducer(KafkaConnection.parse("127.0.0.1:1"), "test", patience=1.0, max_record_bytes=1000)
    first = producer.client.force_metadata_update()
    second = producer.client.force_metadata_update()
    under_way = producer.client._md_update_fut
    under_way.set_result(True)
    assert await asyncio.gather(first, second) == [True, True]
    assert producer.client._md_update_fut is under_way
    await producer.stop()


def _listening_to(producer: PatientProducer) -> list[float]:
    asked: list[float] = []

    def update() -> "asyncio.Future[bool]":
        asked.append(asyncio.get_running_loop().time())
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_result(True)
        return answer

    producer._update = update
    return asked
