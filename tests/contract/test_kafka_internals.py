"""What we lean on inside aiokafka. A failure means a new version: look at `fence.py` and `batches.py`."""

import inspect

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner, murmur2
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager

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
