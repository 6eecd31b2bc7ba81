"""Events that start a run together, on a live engine whose ingest is killed in the midst of it."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from beluga_stream import Client, Run, connect
from beluga_stream.domain.ids import run_id
from tests.engine import Engine, client_environ

AGENTS = Path(__file__).parent / "join_agents"
_WITHIN_MS = 20_000
_LATENESS_MS = 5_000
_WAIT_SECONDS = 90.0
_PARTITIONS = {"a": 3, "b": 1, "c": 2, "many": 2, "edits": 1, "docs": 1}


@dataclass
class Engines:
    """The coordinator and the workers; ingest, with the windows, in a process of its own."""

    rest: Engine
    ingest: Engine

    def kill_ingest(self) -> None:
        os.kill(self.ingest.pid, signal.SIGKILL)
        assert self.ingest._process is not None
        self.ingest._process.wait(10)


@pytest.fixture
def engines(broker: str, tmp_path: Path) -> Iterator[Engines]:
    rest = Engine(broker, tmp_path, agents=str(AGENTS), role="coordinator,worker")
    declared = "".join(f"  - name: {rest.prefix}.{name}\n    partitions: {n}\n" for name, n in _PARTITIONS.items())
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "joins.yaml").write_text(f"topics:\n{declared}")
    rest.start(groups=2)
    ingest = Engine(broker, tmp_path, agents=str(AGENTS), role="ingest", prefix=rest.prefix)
    ingest.log = tmp_path / "ingest.log"
    try:
        ingest.start(groups=2)
        yield Engines(rest, ingest)
    finally:
        codes = [engine.stop() for engine in (ingest, rest) if engine._process is not None]
    assert codes == [0, 0], ingest.tail + rest.tail


@pytest.fixture
async def client(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    for name, value in client_environ(engines.rest).items():
        monkeypatch.setenv(name, value)
    async with connect() as client:
        yield client


@pytest.fixture
async def producer(engines: Engines) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=engines.rest.broker)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@dataclass(frozen=True)
class Sent:
    """An event as it is published; `at_ms` is when it says that it happened."""

    topic: str
    key: str
    n: int
    at_ms: int

    @property
    def id(self) -> str:
        return f"{self.topic}-{self.key}-{self.n}"

    async def by(self, producer: AIOKafkaProducer, prefix: str) -> None:
        moment = datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat()
        headers = {
            "ce_specversion": "1.0",
            "ce_type": "t",
            "ce_source": self.topic,
            "ce_id": self.id,
            "ce_time": moment,
        }
        await producer.send_and_wait(
            f"{prefix}.{self.topic}",
            json.dumps({"key": self.key, "n": self.n}).encode(),
            key=self.key.encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
            partition=0 if self.topic == "c" else None,  # the other one stays idle
        )


async def _letters(engines: Engines, wanted: int) -> dict[str, str]:
    """The dead letters by the ids of their events, once there are so many."""
    consumer = AIOKafkaConsumer(bootstrap_servers=engines.rest.broker)
    await consumer.start()
    found: dict[str, str] = {}
    try:
        targets = [TopicPartition(f"{engines.rest.prefix}.dead-letters", number) for number in range(4)]
        consumer.assign(targets)
        await consumer.seek_to_beginning(*targets)
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_SECONDS):
                while len(found) < wanted:
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        for record in records:
                            headers = {name: value.decode() for name, value in record.headers}
                            found[headers.get("ce_id", "")] = headers["beluga-message"]
    finally:
        await consumer.stop()
    return found


def _window(prefix: str, graph: str, key: str, start_ms: int) -> str:
    name = "+".join(f"{prefix}.{topic}" for topic in "abc")
    return run_id(graph, name, f"{key}\x1f{start_ms}+{_WITHIN_MS}")


async def _result(client: Client, run: str) -> Any:
    return await Run[Any](client._desk, run, None).result(timeout=_WAIT_SECONDS)


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_join_of_three_topics_across_the_death_of_ingest(
    engines: Engines, client: Client, producer: AIOKafkaProducer
) -> None:
    prefix = engines.rest.prefix
    chance = random.Random(5)
    now = int(time.time() * 1000)
    start = now - now % _WITHIN_MS
    if now > start + _WITHIN_MS // 2:
        start += _WITHIN_MS  # all that is in time must be there when the window is over
    complete = [f"full{number}" for number in range(12)]
    lacking = {"ab": "ab-", "a": "a--", "bc": "-bc", "c": "--c"}
    events = [Sent(topic, key, number, start) for number, key in enumerate(complete) for topic in "abc"]
    events += [Sent(topic, key, 7, start + 1) for key in lacking for topic in key]
    events = [Sent(each.topic, each.key, each.n, start + chance.randrange(_WITHIN_MS)) for each in events]
    chance.shuffle(events)
    half = len(events) // 2
    for event in events[:half]:
        await event.by(producer, prefix)
    engines.kill_ingest()
    for event in [*events[half:], *chance.sample(events, 10)]:
        await event.by(producer, prefix)
    # The last of topic b is in a transaction: its mark is an offset that nobody reads, and must stop no time.
    transactional = AIOKafkaProducer(bootstrap_servers=engines.rest.broker, transactional_id=f"{prefix}-tx")
    await transactional.start()
    async with transactional.transaction():
        await Sent("b", "marked", 7, start + 1).by(transactional, prefix)
    await transactional.stop()
    assert time.time() * 1000 < start + _WITHIN_MS + _LATENESS_MS, "the machine was too slow for the window"
    engines.ingest.start(groups=4)  # two of before are in its log

    for number, key in enumerate(complete):
        assert await _result(client, _window(prefix, "whole", key, start)) == 3 * number
    for key, there in (lacking | {"marked": "-b-"}).items():
        assert await _result(client, _window(prefix, "part", key, start)) == there
    assert time.time() * 1000 > start + _WITHIN_MS + _LATENESS_MS - 1_000

    late = [Sent("c", "ab", 8, start), Sent("b", "a", 8, start)]
    other = Sent("a", "never", 9, start)
    for event in (*late, other):
        await event.by(producer, prefix)
    letters = await _letters(engines, 3)
    assert letters.keys() == {"c-ab-8", "b-a-8", "a-never-9"}
    assert all("was over when this event was logged" in told for told in letters.values())
    runs = {_window(prefix, "whole", key, start) for key in complete}
    runs |= {_window(prefix, "part", key, start) for key in (*lacking, "marked")}
    assert {each.run for each in await client._desk().summaries() if each.graph in ("whole", "part")} == runs


@pytest.mark.kafka
@pytest.mark.timeout(180)
async def test_batches_and_bursts(engines: Engines, client: Client, producer: AIOKafkaProducer) -> None:
    prefix = engines.rest.prefix
    now = int(time.time() * 1000)
    for number in range(5):
        await Sent("many", "k", number, now).by(producer, prefix)
        await Sent("edits", "k", number, now).by(producer, prefix)
    async with asyncio.timeout(_WAIT_SECONDS):
        while len(found := await _outputs(client)) < 3:  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.2)
    assert sorted(found, key=str) == [("many", [0, 1, 2]), ("many", [3, 4]), ("settled", 4)]


@pytest.mark.kafka
async def test_a_schedule_starts_a_run_at_each_of_its_times(engines: Engines, client: Client) -> None:
    begun = int(time.time() * 1000)
    tick = (begun // 10_000 + 2) * 10_000  # the next one may be over before somebody has seen the schedule
    assert await _result(client, run_id("often", "often", str(tick))) == "now"
    assert time.time() * 1000 >= tick


async def _outputs(client: Client) -> list[tuple[str, Any]]:
    summaries = [each for each in await client._desk().summaries() if each.graph in ("many", "settled")]
    return [(each.graph, await _result(client, each.run)) for each in summaries]
