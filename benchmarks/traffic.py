"""The cheap side of the measurement: raw producers and consumers, so that the load costs little of the machine."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from beluga_stream.adapters.kafka.batches import placed, send_batches
from beluga_stream.adapters.kafka.consumer import PromptConsumer
from beluga_stream.application import codec
from beluga_stream.application.payloads import input_digest
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.ports.log import Outgoing

_SUCCEEDED = b'"status":{"status":"succeeded"'
_FAILED = b'"status":{"status":"failed"'
_QUIET_SECONDS = 0.15
_CHUNK = b'"type":"chunk"'


class RunFailedInBenchmark(Exception):
    """A run of the benchmark failed: no figure would mean anything."""


def ends_run(record: Any) -> bool:
    """Whether this record of run-results is the end of a run, and not of a page of it. Cheaper than decoding it."""
    value: bytes = record.value or b""
    if _FAILED in value:
        raise RunFailedInBenchmark(value.decode()[:2000])
    return _SUCCEEDED in value and b'"run":"%b"' % record.key in value


def is_chunk(record: Any) -> bool:
    return _CHUNK in (record.value or b"")


class Traffic:
    """One raw producer, and consumers when asked for, on one engine's topics."""

    def __init__(self, broker: str, topics: Topics, producer: AIOKafkaProducer) -> None:
        self.broker = broker
        self.topics = topics
        self._producer = producer

    @classmethod
    @asynccontextmanager
    async def open(cls, broker: str, topics: Topics) -> AsyncIterator[Self]:
        producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=0)
        await producer.start()
        try:
            yield cls(broker, topics, producer)
        finally:
            await producer.stop()

    def requests(self, graph: str, value: Any, count: int) -> list[Outgoing]:
        """So many starts, encoded before the clock runs."""
        digest = input_digest(value)
        records: list[Outgoing] = []
        for _ in range(count):
            run = run_id(graph, "api", secrets.token_hex(16))
            event = RunRequested(
                run=run,
                key=str(run),
                at_ms=now_ms(),
                graph=graph,
                input=Inline(value),
                digest=digest,
            )
            records.append(Outgoing(self.topics.run_requests, str(run).encode(), codec.incoming.encode(event)))
        return records

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Send all, in a batch for each partition."""
        await send_batches(self._producer, await placed(self._producer, records))

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """Where the topic ends now."""
        async with self.reading(topic) as consumer:
            found: dict[TopicPartition, int] = await consumer.end_offsets(sorted(consumer.assignment()))
            return found

    @asynccontextmanager
    async def reading(
        self, topic: str, start: dict[TopicPartition, int] | None = None
    ) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer without a group, at these offsets or at the end."""
        consumer = PromptConsumer(
            bootstrap_servers=self.broker,
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=8 << 20,
        )
        await consumer.start()
        try:
            numbers = await _partitions(self._producer, topic)
            targets = [TopicPartition(topic, number) for number in numbers]
            consumer.assign(targets)
            for target in targets:
                if start is None:
                    await consumer.seek_to_end(target)
                    await consumer.position(target)
                else:
                    consumer.seek(target, start[target])
            yield consumer
        finally:
            await consumer.stop()

    async def read(self, topic: str, start: dict[TopicPartition, int]) -> list[Any]:
        """Every record from these offsets up to the present end."""
        records: list[Any] = []
        ends = await self.ends(topic)
        async with self.reading(topic, start) as consumer:
            left = {target for target, end in ends.items() if start[target] < end}
            while left:
                for found in (await consumer.getmany(*left, timeout_ms=500)).values():
                    records.extend(found)
                left = {target for target in left if await consumer.position(target) < ends[target]}
        return records

    async def wait_until_quiet(self, topic: str, start: dict[TopicPartition, int], seconds: float) -> None:
        """Wait until the topic has grown and grows no more, asking seldom enough to disturb nothing."""
        before = at = sum(start.values())
        async with asyncio.timeout(seconds), self.reading(topic) as consumer:
            while True:
                await asyncio.sleep(_QUIET_SECONDS)
                now = sum((await consumer.end_offsets(list(start))).values())
                if now == at > before:
                    return
                at = now


async def _partitions(producer: AIOKafkaProducer, topic: str) -> Iterable[int]:
    found: set[int] = await producer.partitions_for(topic)
    return sorted(found)


def now_ms() -> int:
    return int(time.time() * 1000)
