"""What the log says, read by a plain consumer that knows nothing of the engine but its wire format."""

import asyncio
import bisect
import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.chaos.ledger import Ledger, Line

RUN_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_ATTEMPT_ENDED = frozenset({"node_succeeded", "node_failed"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The outcome of a node that its run's coordinator took. `output` is a payload as it travels."""

    counter: int
    attempt: int
    incarnation: str | None
    output: Any
    chunks: int | None


@dataclass(slots=True)
class Told:
    """Everything that readers were told of one run (a page of a large map is one of its own)."""

    graph: str
    statuses: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """By counter, without the repeats."""
    contradictions: list[str] = field(default_factory=list)
    accepted: dict[str, list[Accepted]] = field(default_factory=lambda: defaultdict(list))
    ends: list[tuple[int, str, Any, Any]] = field(default_factory=list)
    chunks: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=lambda: defaultdict(list))
    """By node and incarnation, as they lie in the log."""


class Observer:
    """Reads results, dispatches, outcomes and dead letters from their beginning. Use with `async with`.

    What it is told of a run's end goes into the ledger.
    """

    def __init__(self, broker: str, prefix: str, partitions: int, ledger: Ledger) -> None:
        self._ledger = ledger
        self._results = f"{prefix}.run-results"
        self._ready = f"{prefix}.node-ready.default"
        self._done = f"{prefix}.node-done"
        self._dead = f"{prefix}.dead-letters"
        topics = (self._results, self._ready, self._done, self._dead)
        self._targets = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
        self._broker = broker
        self._consumer: AIOKafkaConsumer
        self._task: asyncio.Task[None] | None = None
        self._read: dict[TopicPartition, int] = {}
        self.runs: dict[str, Told] = {}
        self._parts: dict[str, list[Told]] = defaultdict(list)
        self.ended_at: dict[str, float] = {}
        self.dispatches: Counter[tuple[str, str, int]] = Counter()
        self.outcomes: Counter[tuple[str, str, int, str]] = Counter()
        self.repeated_statuses: Counter[str] = Counter()
        self.rejected: list[str] = []
        self.dead_letters: list[str] = []
        self.progress_at: list[float] = []
        """When something was told, for finding the longest silence."""
        self.ended_ms: dict[str, int] = {}
        self._told_ms: dict[int, list[int]] = defaultdict(list)
        """By partition, when its coordinator told something (epoch milliseconds)."""
        self._ends: list[Line] = []

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._broker,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        await self._consumer.start()
        self._consumer.assign(self._targets)
        await self._consumer.seek_to_beginning(*self._targets)
        self._task = asyncio.create_task(self._run(), name="chaos-observer")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def caught_up(self) -> None:
        """Return when everything that is in the log now was read."""
        ends = await self._consumer.end_offsets(self._targets)
        while any(self._read.get(target, 0) < end for target, end in ends.items()):
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(0.02)

    def told_of(self, run: str) -> list[Told]:
        """What was told of a run and of the pages of its map."""
        return self._parts.get(run, [])

    def told_after(self, partition: int, at_ms: int) -> int | None:
        """When the coordinator of the partition told something for the first time after that."""
        times = self._told_ms[partition]
        place = bisect.bisect_right(times, at_ms)
        return times[place] if place < len(times) else None

    async def _run(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=500, max_records=5000)
            for target, records in fetched.items():
                for record in records:
                    self._take(target.topic, record)
                self._read[target] = records[-1].offset + 1
            ends, self._ends = self._ends, []
            await asyncio.gather(*(self._ledger.write(line) for line in ends))

    def _take(self, topic: str, record: Any) -> None:
        if topic == self._dead:
            self.dead_letters.append(f"{record.headers}: {record.value[:300]!r}")
            return
        value = orjson.loads(record.value)
        if topic == self._ready:
            self.dispatches[value["run"], value["node"], value["attempt"]] += 1
        elif topic == self._done:
            if value["type"] in _ATTEMPT_ENDED:
                self.outcomes[value["run"], value["node"], value["attempt"], value["incarnation"]] += 1
        elif value["type"] == "rejected":
            self.rejected.append(f"{value['run']}: {value['message']}")
        elif value["type"] == "chunk":
            told = self._told(value["run"], "")
            told.chunks[value["node"], value["incarnation"]].append((value["seq"], value["value"]))
        else:
            self.progress_at.append(time.monotonic())
            times = self._told_ms[record.partition]
            if not times or record.timestamp > times[-1]:
                times.append(record.timestamp)
            self._progress(value, record.timestamp)

    def _told(self, run: str, graph: str) -> Told:
        told = self.runs.get(run)
        if told is None:
            told = self.runs[run] = Told(graph)
            self._parts[run.partition(".")[0]].append(told)
        told.graph = told.graph or graph
        return told

    def _progress(self, value: Any, at_ms: int) -> None:
        run = value["run"]
        told = self._told(run, value["graph"])
        for node in value.get("nodes", ()):
            status = node["node"], node["status"], node["attempt"]
            if not self._is_news(run, told, node["counter"], status):
                continue
            if node["status"] == "succeeded":
                told.accepted[node["node"]].append(
                    Accepted(
                        node["counter"],
                        node["attempt"],
                        node.get("incarnation"),
                        node.get("output"),
                        node.get("chunks"),
                    )
                )
        status = value.get("status")
        if status is None or not self._is_news(run, told, status["counter"], (status["status"],)):
            return
        if status["status"] in RUN_ENDED:
            told.ends.append((status["counter"], status["status"], status.get("output"), status.get("failure")))
            self.ended_at.setdefault(run, time.monotonic())
            self.ended_ms.setdefault(run, at_ms)
            self._ends.append(Line("result", run, told.graph, "", 0, "", os.getpid(), {}, status["status"], at_ms))

    def _is_news(self, run: str, told: Told, counter: int, status: tuple[Any, ...]) -> bool:
        """A counter that was told before must say the same again: otherwise two coordinators decided."""
        known = told.statuses.setdefault(counter, status)
        if known is status:
            return True
        self.repeated_statuses[run] += 1
        if known != status:
            told.contradictions.append(f"status {counter} of {run} is {known} and {status}")
        return False
