"""What the HTTP gateway adds: many readers of server-sent events on one process, each with a run of its own.

    python -m benchmarks.gateway --readers 1000 --rate 2000 --seconds 20

Chunks are written to the log as workers write them, stamped; each is read twice, by a consumer of Kafka and through the
gateway, in one process. What the gateway adds is the difference.
"""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from beluga_stream.adapters.http.sse import Parser
from beluga_stream.adapters.kafka.batches import send_batches
from beluga_stream.application import codec
from beluga_stream.application.messages import ChunkEmitted, Progress, RunChange, Summary
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.topics import Topics
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.ports.log import Outgoing
from benchmarks.__main__ import start_broker
from benchmarks.figures import Figure, as_table, quantile
from benchmarks.traffic import now_ms
from tests.brokers import free_port

_TICK_SECONDS = 0.02
_OPEN_SECONDS = 240.0
_MIB = 1 << 20
_CHUNK = b'{"v":1,"type":"chunk"'
_STAMP = b'"at":'
_TEXT = "a word or two of an answer"


def stamp_of(data: bytes) -> float:
    """When a chunk was written: both readers find it without reading the rest, since they share a processor."""
    begin = data.index(_STAMP) + len(_STAMP)
    return float(data[begin : data.index(b"}", begin)])


class Seen:
    """Milliseconds from a chunk's writing to its reading, of those written after the warm-up."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.counting = False

    def note(self, stamp: float) -> None:
        if self.counting:
            self.took.append((time.time() - stamp) * 1000)


async def measure(broker: str, folder: Path, *, readers: int, rate: int, seconds: float) -> list[Figure]:
    """The gateway's memory and the latency that it adds."""
    topics = Topics(f"bench-{secrets.token_hex(4)}")
    runs = [RunId(secrets.token_hex(16)) for _ in range(readers)]
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(_producer(broker, topics))
        await _begin(producer, topics, runs)
        gateway, url = stack.enter_context(_Gateway(broker, topics, folder))
        before = gateway.memory_info().rss / _MIB
        direct, through = Seen(), Seen()
        reading = asyncio.create_task(_read_kafka(broker, topics, direct))
        opened = asyncio.Semaphore(0)
        began = time.perf_counter()
        streams = [asyncio.create_task(_read_events(url, run, through, opened)) for run in runs]
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                for _ in runs:
                    await opened.acquire()
            opening = time.perf_counter() - began
            await _write(producer, topics, runs, rate, 2.0, 0)
            direct.counting = through.counting = True
            own = psutil.Process()
            cpu, own_cpu = _cpu(gateway), _cpu(own)
            written = await _write(producer, topics, runs, rate, seconds, int(2.0 / _TICK_SECONDS))
            await asyncio.sleep(2)
            used, own_used = (_cpu(gateway) - cpu) / seconds, (_cpu(own) - own_cpu) / seconds
            resident = gateway.memory_info().rss / _MIB
        finally:
            for task in (*streams, reading):
                task.cancel()
            await asyncio.gather(*streams, reading, return_exceptions=True)
    p99, p99_direct = quantile(through.took, 0.99), quantile(direct.took, 0.99)
    return [
        Figure(f"{readers:,} streams on one gateway, memory", resident, "MiB", 500, note=f"{before:.0f} without any"),
        Figure("added latency, p99", p99 - p99_direct, "ms", 100),
        Figure("through the gateway, p99", p99, "ms", note=f"p50 {quantile(through.took, 0.5):.1f} ms"),
        Figure("directly from Kafka, p99", p99_direct, "ms", note=f"p50 {quantile(direct.took, 0.5):.1f} ms"),
        Figure("chunks written", written / seconds, "chunks/s"),
        Figure("of them read through the gateway", len(through.took) / written * 100, "%", 100, "at least"),
        Figure("all streams opened", opening, "s"),
        Figure("processor of the gateway", used * 100, "%", note=f"{own_used * 100:.0f} % for the measuring itself"),
    ]


@asynccontextmanager
async def _producer(broker: str, topics: Topics) -> AsyncIterator[AIOKafkaProducer]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    names = topics.specs(["default"])
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
    try:
        await admin.create_topics([NewTopic(spec.name, spec.partitions, 1) for spec in names])
        await producer.start()
        yield producer
    finally:
        await producer.stop()
        await admin.delete_topics([spec.name for spec in names])
        await admin.close()


async def _begin(producer: AIOKafkaProducer, topics: Topics, runs: list[RunId]) -> None:
    """What a coordinator writes of a run that begins."""
    at = now_ms()
    records = []
    for run in runs:
        begun = Progress(run=run, graph="bench", at_ms=at, status=RunChange("running", 1))
        summary = Summary(run=run, graph="bench", status="running", trigger="api", started_ms=at)
        for topic, value in (
            (topics.run_results, codec.results.encode(begun)),
            (topics.runs, codec.summaries.encode(summary)),
        ):
            records.append(_record(topics, topic, run, value))
    await send_batches(producer, records)


async def _write(
    producer: AIOKafkaProducer, topics: Topics, runs: list[RunId], rate: int, seconds: float, tick: int
) -> int:
    """Chunks at an even rate, those of each run in order; returns how many."""
    each = max(1, int(rate * _TICK_SECONDS))
    begin, number = time.perf_counter(), tick * each
    first = number
    while (due := begin + (number - first) / each * _TICK_SECONDS) < begin + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        records = []
        for at in range(number, number + each):
            run = runs[at % len(runs)]
            chunk = ChunkEmitted(
                run=run,
                node=NodeKey("say"),
                attempt=1,
                incarnation=Incarnation("i"),
                seq=at // len(runs),
                value=Inline({"text": _TEXT, "at": time.time()}),
                at_ms=now_ms(),
            )
            records.append(_record(topics, topics.run_results, run, codec.results.encode(chunk)))
        await send_batches(producer, records)
        number += each
    return number - first


def _record(topics: Topics, topic: str, run: RunId, value: bytes) -> Outgoing:
    key = run.encode()
    return Outgoing(topic, key, value, partition=partition_of(key, topics.partitions))


async def _read_kafka(broker: str, topics: Topics, seen: Seen) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        targets = [TopicPartition(topics.run_results, number) for number in range(topics.partitions)]
        consumer.assign(targets)
        await consumer.seek_to_end(*targets)
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    if record.value.startswith(_CHUNK):
                        seen.note(stamp_of(record.value))
    finally:
        await consumer.stop()


async def _read_events(url: str, run: RunId, seen: Seen, opened: asyncio.Semaphore) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET /v1/runs/{run}/events HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise RuntimeError(head.decode() + (await reader.read()).decode())
        parser = Parser()
        while data := await reader.read(65_536):
            for event in parser.feed(data):
                if event.event == "live":
                    opened.release()
                elif event.event == "chunk":
                    seen.note(stamp_of(event.data.encode()))
    finally:
        writer.close()


class _Gateway:
    """The gateway as a process, for as long as the block lasts."""

    def __init__(self, broker: str, topics: Topics, folder: Path) -> None:
        self._port = free_port()
        self._environ = os.environ | {
            "BELUGA_BROKER": broker,
            "BELUGA_PREFIX": topics.prefix,
            "BELUGA_BLOBS": str(folder / "blobs"),
            "BELUGA_TOPICS": str(folder),
            "BELUGA_HTTP_ADDRESS": f"127.0.0.1:{self._port}",
            "BELUGA_HTTP_REQUESTS_PER_SECOND": "100000",
            "BELUGA_HTTP_STREAMS_PER_CALLER": "100000",
            "BELUGA_HTTP_STREAMS": "100000",
        }

    def __enter__(self) -> tuple[psutil.Process, str]:
        command = [sys.executable, "-m", "beluga_stream.cli", "serve", "--json"]
        self._process = subprocess.Popen(command, env=self._environ, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return psutil.Process(self._process.pid), f"127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description="Measure the HTTP gateway.")
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=2_000, help="chunks a second, in all")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--broker", metavar="ADDRESS", help="a Kafka that runs (default: BELUGA_BENCH_BROKER)")
    given = parser.parse_args()
    broker = start_broker(given.broker or os.environ.get("BELUGA_BENCH_BROKER"))
    try:
        with tempfile.TemporaryDirectory() as folder:
            measuring = measure(
                broker.address, Path(folder), readers=given.readers, rate=given.rate, seconds=given.seconds
            )
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures = runner.run(measuring)
    finally:
        broker.stop()
    as_table(figures, {})


if __name__ == "__main__":
    main()
