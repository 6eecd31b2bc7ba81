"""A coordinator of one partition on a log in memory, and the events that a test hands it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import MemoryTables
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.coordinator.coordinator import Coordinator, CoordinatorOptions
from beluga_stream.application.messages import Segment
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import (
    Event,
    Failure,
    NodeFailed,
    NodeSucceeded,
    RunRequested,
)
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Position, Record
from beluga_stream.ports.spans import NO_SPANS, Spans
from beluga_stream.ports.telemetry import NO_TELEMETRY, Telemetry
from tests.unit.graphs import edges, node, plan

NAMES = Topics(partitions=1)


OWNED = frozenset({0})


class StillClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        await asyncio.sleep(0)


class BreakingAppender:
    """The log, until told to break or to take for ever."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.breaks = False
        self.hanging: asyncio.Event | None = None

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        if self.hanging is not None:
            await self.hanging.wait()
        if self.breaks:
            raise LogUnavailable("the broker is gone")
        return await self._log.append(records)


class Bench:
    """One coordinator over one partition, and everything it writes."""

    telemetry: Telemetry = NO_TELEMETRY
    spans: Spans = NO_SPANS

    def __init__(self, **options: int) -> None:
        self.log = MemoryLog()
        self.log.create(NAMES.specs(["default"]))
        self.group = MemoryGroup("coordinators")
        self.tables = MemoryTables(self.group, (NAMES.run_requests, NAMES.run_events, NAMES.node_done), self.log)
        self.appender = BreakingAppender(self.log)
        self.options = CoordinatorOptions(**options)
        self.plan = plan([node("a"), node("b")], edges("input > a > b"), ["b"])
        self.clock = StillClock()
        self.coordinator = self.another()

    def another(self) -> Coordinator:
        """A coordinator that knows nothing but what is durable."""
        catalog = Catalog(self.log, NAMES)
        catalog.add(self.plan.definition)
        return Coordinator(
            topics=NAMES,
            tables=self.tables,
            appender=self.appender,
            reader=self.log,
            catalog=catalog,
            payloads=Payloads(MemoryBlobs()),
            clock=self.clock,
            telemetry=self.telemetry,
            spans=self.spans,
            options=self.options,
        )

    async def tell(self, topic: str, event: Event | Segment, *, key: str | None = None) -> Record:
        value = codec.incoming.encode(event)
        await self.log.append([Outgoing(topic, (key or str(event.run)).encode(), value)])
        record = self.written(topic)[-1]
        await self.handle(record)
        return record

    async def handle(self, record: Record) -> None:
        """Hand it over as a driver does: it is done when what `handle` returns says so."""
        later = await self.coordinator.handle([record])
        if later is not None:
            await later

    def written(self, topic: str) -> Sequence[Record]:
        return self.log.records(topic, 0)


async def bench_of(definition: Plan | None = None, **options: int) -> Bench:
    """A bench whose coordinator has its partition, and runs this graph."""
    bench = Bench(**options)
    if definition is not None:
        bench.plan = definition
        bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    return bench


def requested(run: str = "r", value: object = 1, digest: str = "d", graph: str = "test") -> RunRequested:
    return RunRequested(
        run=RunId(run), key=run, at_ms=1, graph=graph, input=Inline(value), digest=digest, definition=None
    )


def execution(run: str, name: str) -> dict[str, Any]:
    return {
        "run": RunId(run),
        "key": run,
        "at_ms": 2,
        "node": NodeKey(name),
        "attempt": 1,
        "incarnation": Incarnation("i"),
    }


def done(run: str, name: str, value: object = 1) -> NodeSucceeded:
    return NodeSucceeded(**execution(run, name), output=Inline(value))


def failure(run: str, name: str) -> NodeFailed:
    why = Failure("execution_failed", "it is broken")
    return NodeFailed(**execution(run, name), failure=why, retryable=False)


async def a_while() -> None:
    """Until whatever can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)
