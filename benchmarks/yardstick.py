"""Raw aiokafka on the same broker in the same minute: what the engine is held against."""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from beluga_stream.adapters.kafka.batches import send_batches
from beluga_stream.ports.log import Outgoing
from benchmarks.figures import Figure, quantile
from benchmarks.hop import PARTITIONS as _PARTITIONS
from benchmarks.hop import counting

_PATIENCE_SECONDS = 30.0
_STEPS = 10
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


async def raw_steps(broker: str, count: int) -> list[Figure]:
    """What ten steps cost without an engine: two processes, and the three durable writes of each step.

    ready -> worker -> done -> coordinator -> log (acknowledged) -> ready: nothing is decided, nothing kept.
    """
    name = f"bench-steps-{secrets.token_hex(4)}"
    ready, done, log, after = topics = [f"{name}-{part}" for part in ("ready", "done", "log", "after")]
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    took: list[float] = []
    try:
        await admin.create_topics([NewTopic(topic, _PARTITIONS, 1) for topic in topics])
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_process(broker, ready, done))
            await stack.enter_async_context(_process(broker, done, ready, log, after))
            producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True, linger_ms=0)
            consumer = AIOKafkaConsumer(after, bootstrap_servers=broker, fetch_max_wait_ms=50)
            for client in (producer, consumer):
                await client.start()
                stack.push_async_callback(client.stop)
            await consumer.seek_to_end()
            for target in consumer.assignment():
                await consumer.position(target)
            for _ in range(count):
                began = time.perf_counter()
                await producer.send(ready, counting(_STEPS), partition=0)
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    while not await consumer.getmany(timeout_ms=1000):
                        pass
                took.append((time.perf_counter() - began) * 1000)
    finally:
        await admin.delete_topics(topics)
        await admin.close()
    return [Figure("yardstick: the writes of ten steps and nothing else, p50", quantile(took[10:], 0.5), "ms")]


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "benchmarks.hop", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await process.stdout.readline()
        yield
    finally:
        process.kill()
        await process.wait()
