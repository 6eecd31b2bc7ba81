"""An engine over a deployment of misbehaving handlers, and hands that feed it and read what becomes of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from beluga_stream import Client, Run
from beluga_stream.domain.ids import run_id
from tests.engine import Engine

AGENTS = Path(__file__).parent / "bad_agents"
_PARTITIONS = 4
_WAIT_SECONDS = 30.0

Headers = Sequence[tuple[str, bytes]]


@contextlib.contextmanager
def bad_engine(broker: str, folder: Path) -> Iterator[Engine]:
    """The engine, with few threads, for as long as the block lasts; whatever it was fed, it stops cleanly."""
    engine = Engine(broker, folder, agents=str(AGENTS), worker_threads="2", shutdown_grace_seconds="1")
    _declare_topics(folder, engine.prefix)
    engine.start()
    try:
        yield engine
    finally:
        code = engine.stop()
    assert code == 0, f"the engine ended with code {code}:\n{engine.tail}"


def _declare_topics(folder: Path, prefix: str) -> None:
    """The users' topics: both take records far above Kafka's default limit."""
    (folder / "topics").mkdir(exist_ok=True)
    declared = "".join(
        f"  - name: {prefix}.{name}\n    partitions: 2\n    config: {{max.message.bytes: '10000000'}}\n"
        for name in ("docs", "picky")
    )
    (folder / "topics" / "bad.yaml").write_text(f"topics:\n{declared}")


@dataclass(frozen=True)
class Letter:
    """A dead letter as a reader sees it."""

    reason: str
    message: str
    source: str
    record: ConsumerRecord

    @property
    def value(self) -> bytes | None:
        value: bytes | None = self.record.value
        return value


class Hands:
    """Publishes to an engine's topics as any program may, and reads its dead letters and rejections."""

    def __init__(self, engine: Engine, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self.engine = engine
        self._producer = producer
        self._consumer = consumer
        self._letters: dict[str, Letter] = {}
        self.events: dict[str, str] = {}
        """By its source, what an event is called in the id of its run."""

    async def publish(
        self,
        topic: str,
        value: bytes | Mapping[str, Any] | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> str:
        """Publish to a topic under the prefix; returns the record's source as dead letters name it."""
        data = json.dumps(value).encode() if isinstance(value, Mapping) else value
        told = await self._producer.send_and_wait(
            f"{self.engine.prefix}.{topic}", data, key=key, headers=list(headers), partition=partition
        )
        source = f"{told.topic}/{told.partition}/{told.offset}"
        self.events[source] = f"{source}@{told.timestamp}"
        return source

    async def letter(self, source: str) -> Letter:
        """The dead letter of this record, once it is there."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while source not in self._letters:
                for records in (await self._consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        headers = {name: value.decode() for name, value in record.headers if "beluga" in name}
                        letter = Letter(
                            headers["beluga-reason"], headers["beluga-message"], headers["beluga-source"], record
                        )
                        self._letters[letter.source] = letter
        return self._letters[source]


@asynccontextmanager
async def hands(engine: Engine) -> AsyncIterator[Hands]:
    """Hands over this engine's topics."""
    producer = AIOKafkaProducer(bootstrap_servers=engine.broker, max_request_size=12_000_000)
    consumer = AIOKafkaConsumer(bootstrap_servers=engine.broker, max_partition_fetch_bytes=12_000_000)
    await producer.start()
    try:
        await consumer.start()
        targets = [TopicPartition(f"{engine.prefix}.dead-letters", number) for number in range(_PARTITIONS)]
        consumer.assign(targets)
        await consumer.seek_to_beginning(*targets)
        yield Hands(engine, producer, consumer)
    finally:
        await consumer.stop()
        await producer.stop()


@asynccontextmanager
async def beside_a_good_run(client: Client) -> AsyncIterator[None]:
    """A good run starts before what the block does, and another after it; both finish."""
    before = await client.start("good", {"text": "before"})
    yield
    after = await client.start("good", {"text": "after it"})
    assert await before.result(timeout=_WAIT_SECONDS) == 12
    assert await after.result(timeout=_WAIT_SECONDS) == 16


async def result_of_event(client: Client, event: str) -> Any:
    """The result of the run that an event of `good`'s topic has started, by the id that docs/wire.md tells."""
    run = run_id("good", event.partition("/")[0], event)
    return await Run[Any](client._desk, str(run), None).result(timeout=_WAIT_SECONDS)
