"""An engine in this process, on a log in memory, and its front desks: for tests of what clients see."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.memory.driver import MemoryDriver
from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import MemoryTables
from beluga_stream.application.catalog import Catalog, publish
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.clients.summaries import TOLD_WITHIN_SECONDS
from beluga_stream.application.coordinator.coordinator import Coordinator
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.application.worker.worker import Worker
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.ports.clock import Clock
from beluga_stream.ports.handlers import Program
from tests.unit.engines import Deployed, handler, program
from tests.unit.graphs import edges, node, plan

PARTITIONS = 2


class Desk:
    """An engine in this process, and any number of clients."""

    def __init__(self, *programs: Program) -> None:
        self.topics = Topics(partitions=PARTITIONS)
        self.log = MemoryLog()
        self.log.create(self.topics.specs(["default"]))
        self.blobs = MemoryBlobs()
        self.payloads = Payloads(self.blobs)
        self.programs = programs
        self.told_within_seconds = TOLD_WITHIN_SECONDS

    @asynccontextmanager
    async def open(self, *, within: float = 20) -> AsyncGenerator["Desk", None]:
        await publish(self.log, self.topics, [each.definition for each in self.programs])
        groups = MemoryGroup("coordinator"), MemoryGroup("worker")
        coordinator = Coordinator(
            topics=self.topics,
            tables=MemoryTables(
                groups[0], (self.topics.run_requests, self.topics.run_events, self.topics.node_done), self.log
            ),
            appender=self.log,
            reader=self.log,
            catalog=Catalog(self.log, self.topics),
            payloads=self.payloads,
            clock=SystemClock(),
        )
        worker = Worker(
            topics=self.topics,
            queues=["default"],
            deployment=Deployed({each.definition.hash: each for each in self.programs}),
            appender=self.log,
            reader=self.log,
            payloads=self.payloads,
            executions=Executions(),
            clock=SystemClock(),
        )
        drivers = [
            MemoryDriver(role, self.log, group) for role, group in zip((coordinator, worker), groups, strict=True)
        ]
        for driver, group in zip(drivers, groups, strict=True):
            await driver.assign(frozenset(range(PARTITIONS)), group.next_generation())
        tasks = [asyncio.create_task(driver.run()) for driver in drivers]
        try:
            async with asyncio.timeout(within):
                yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await worker.close()
            await coordinator.close()

    @asynccontextmanager
    async def client(self, clock: Clock | None = None) -> AsyncGenerator[Runs, None]:
        runs = Runs(
            topics=self.topics,
            appender=self.log,
            reader=self.log,
            payloads=self.payloads,
            clock=clock or SystemClock(),
            partition=lambda run: partition_of(run.encode(), PARTITIONS),
            told_within_seconds=self.told_within_seconds,
        )
        try:
            yield runs
        finally:
            await runs.close()


@dataclass
class Mood:
    """What the graph's one node does next."""

    broken: bool = False
    calls: int = 0


class Broken(ValueError):
    """Asks to be left alone for a moment."""

    retry_after = 2.5


def graph(mood: Mood, name: str = "test") -> Program:
    async def double(value: int) -> int:
        mood.calls += 1
        if mood.broken:
            raise Broken("broken")
        return value * 2

    of = plan([node("a", retry=RetryPolicy(attempts=1))], edges("input > a"), ["a"], name)
    return program(of, {"a": handler(double)})
