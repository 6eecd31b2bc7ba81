"""What a streaming edge costs: one node's chunks until another has them, beside the same records through aiokafka."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from beluga_stream.adapters.kafka.batches import send_batches
from beluga_stream.application import codec
from beluga_stream.application.messages import ChunkEmitted, Progress
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline, Json
from beluga_stream.ports.log import Outgoing
from benchmarks.agents.edges import TICK_SECONDS
from benchmarks.engine import Process
from benchmarks.figures import Figure, quantile
from benchmarks.traffic import Traffic, ends_run, now_ms

_PATIENCE_SECONDS = 120.0
_UNDER_WAY = 256
_STAGES = ("first", "third")


async def latency(traffic: Traffic, chunks: int) -> list[Figure]:
    """From the producer's yield to the consumer's receipt, at 200 chunks/s."""
    took = await _output(traffic, "paced", chunks)
    raw = await _raw_latency(traffic.broker, chunks)
    return [
        Figure("streaming edge, yield to receipt, p50", quantile(took, 0.5), "ms", 5),
        Figure("streaming edge, yield to receipt, p99", quantile(took, 0.99), "ms"),
        Figure("yardstick: a raw record, sent to received, p50", quantile(raw, 0.5), "ms"),
    ]


async def throughput(traffic: Traffic, processes: Sequence[Process], chunks: int) -> list[Figure]:
    """Chunks a second through one edge: a producer that does not wait, and a consumer that does nothing."""
    before = [process.cpu_seconds() for process in processes]
    count, seconds = await _output(traffic, "flooded", chunks)
    figures = [Figure("streaming edge", count / seconds, "chunks/s", 20_000, "at least")]
    figures += [
        Figure(f"streaming edge: CPU of {process.name}", (process.cpu_seconds() - used) / count * 1e6, "us/chunk")
        for process, used in zip(processes, before, strict=True)
        if process.name in {"worker", "broker"}
    ]
    figures.append(Figure("yardstick: the same records, raw", await _raw_rate(traffic.broker, chunks), "records/s"))
    return figures


async def pipeline(traffic: Traffic, count: int) -> list[Figure]:
    """From the first stage's first chunk to the third's, as a reader of the run has them."""
    took: list[float] = []
    async with traffic.reading(traffic.topics.run_results) as consumer:
        for request in traffic.requests("staged", 40, count):
            first: dict[str, float] = {}
            await traffic.send([request])
            async for record in _records(consumer, request.key):
                decoded = codec.results.decode(record.value)
                if isinstance(decoded, ChunkEmitted) and decoded.node in _STAGES:
                    first.setdefault(decoded.node, time.perf_counter())
                if ends_run(record):
                    break
            took.append((first["third"] - first["first"]) * 1000)
    return [
        Figure("three streaming stages, first chunk to first output, p50", quantile(took, 0.5), "ms", 80),
        Figure("three streaming stages, the first run of all", took[0], "ms", note="in this part"),
    ]


async def _output(traffic: Traffic, graph: str, value: Json) -> list[float]:
    """What a run of the graph gives."""
    async with traffic.reading(traffic.topics.run_results) as consumer:
        [request] = traffic.requests(graph, value, 1)
        await traffic.send([request])
        async for record in _records(consumer, request.key):
            if ends_run(record):
                decoded = codec.results.decode(record.value)
                assert isinstance(decoded, Progress)
                assert decoded.status is not None
                assert isinstance(decoded.status.output, Inline)
                return list(decoded.status.output.value)
    raise AssertionError("a consumer without an end ended")


async def _records(consumer: AIOKafkaConsumer, key: bytes | None) -> AsyncIterator[Any]:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    if record.key == key:
                        yield record


async def _raw_latency(broker: str, chunks: int) -> list[float]:
    took: list[float] = []
    async with _raw(broker) as (topic, producer, consumer):

        async def write() -> None:
            for _ in range(chunks):
                await asyncio.sleep(TICK_SECONDS)
                await producer.send(topic, repr(time.time()).encode())

        writing = asyncio.create_task(write())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while len(took) < chunks:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    took += [(time.time() - float(record.value)) * 1000 for record in records]
        await writing
    return took


async def _raw_rate(broker: str, chunks: int) -> float:
    async with _raw(broker) as (topic, producer, consumer):
        began = time.perf_counter()

        async def write() -> None:
            for begin in range(0, chunks, _UNDER_WAY):
                numbers = range(begin, min(begin + _UNDER_WAY, chunks))
                await send_batches(producer, [Outgoing(topic, b"run", _chunk(at), partition=0) for at in numbers])

        writing = asyncio.create_task(write())
        received = 0
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while received < chunks:
                received += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
        took = time.perf_counter() - began
        await writing
    return chunks / took


def _chunk(number: int) -> bytes:
    """A record as a worker writes it."""
    chunk = ChunkEmitted(
        run=RunId("3f" * 16),
        node=NodeKey("flood"),
        attempt=1,
        incarnation=Incarnation("a1b2c3d4e5f6"),
        seq=number,
        value=Inline(time.time()),
        at_ms=now_ms(),
    )
    return codec.results.encode(chunk)


@asynccontextmanager
async def _raw(broker: str) -> AsyncIterator[tuple[str, AIOKafkaProducer, AIOKafkaConsumer]]:
    """A topic of one partition, who writes it and who reads it, in this process."""
    topic = f"bench-edge-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True, linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, fetch_max_wait_ms=50)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
        await producer.start()
        await consumer.start()
        target = TopicPartition(topic, 0)
        consumer.assign([target])
        await consumer.seek_to_beginning(target)
        yield topic, producer, consumer
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.delete_topics([topic])
        await admin.close()
