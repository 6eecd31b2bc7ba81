"""Raw aiokafka on the same broker in the same minute: what the engine is held against."""

import secrets
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from beluga_stream.adapters.kafka.batches import send_batches
from beluga_stream.ports.log import Outgoing
from benchmarks.figures import Figure

_PARTITIONS = 4
_VALUE = b"x" * 300


async def raw_throughput(broker: str, records: int) -> list[Figure]:
    """Records a second through one asyncio loop, in batches, acks=all, idempotent."""
    name = f"bench-raw-{secrets.token_hex(4)}"
    source, target = f"{name}-in", f"{name}-out"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    consumer = AIOKafkaConsumer(
        source, bootstrap_servers=broker, group_id=name, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True, max_batch_size=1_000_000)
    try:
        await admin.create_topics([NewTopic(topic, _PARTITIONS, 1) for topic in (source, target)])
        await producer.start()
        for begin in range(0, records, 4_000):
            await send_batches(
                producer,
                [
                    Outgoing(source, str(at).encode(), _VALUE, partition=at % _PARTITIONS)
                    for at in range(begin, min(begin + 4_000, records))
                ],
            )
        await consumer.start()
        done = 0
        began = time.perf_counter()
        while done < records:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=1000)
            taken = [record for found in fetched.values() for record in found]
            if not taken:
                continue
            await send_batches(producer, [Outgoing(target, r.key, r.value, partition=r.partition) for r in taken])
            await consumer.commit(
                {TopicPartition(t.topic, t.partition): found[-1].offset + 1 for t, found in fetched.items()}
            )
            done += len(taken)
        took = time.perf_counter() - began
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.delete_topics([source, target])
        await admin.close()
    return [Figure("yardstick: raw consume, produce, commit", records / took, "records/s")]
