"""Durable runs in one process with a real Temporal server: worker, port, and a log in memory."""

import secrets
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.temporal.activities import Activities
from beluga_stream.adapters.temporal.worker import TemporalWorker
from beluga_stream.adapters.temporal.workflows import TemporalWorkflows
from beluga_stream.api.resource import open_resource
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.domain.definition import Definition
from beluga_stream.domain.events import Parent, RunRequested, SignalReceived
from beluga_stream.domain.ids import GraphHash, RunId
from beluga_stream.domain.payload import Json
from beluga_stream.ports.cipher import Cipher
from beluga_stream.ports.handlers import Program, Trigger
from beluga_stream.ports.spans import NO_SPANS, Spans
from beluga_stream.ports.telemetry import NoTelemetry

TOPICS = Topics(partitions=2)


class Deployed:
    """The port `Deployment` over some programs."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self.programs: dict[GraphHash, Program] = {}
        self.triggers: Sequence[Trigger] = ()
        for program in programs:
            self._learn(program)

    def latest(self, graph: str) -> Program | None:
        return next((found for found in self.programs.values() if found.definition.name == graph), None)

    def definition(self, found: GraphHash) -> Definition | None:
        program = self.programs.get(found)
        return None if program is None else program.definition

    def _learn(self, program: Program) -> None:
        self.programs[program.definition.hash] = program
        for child in program.children.values():
            self._learn(child)


@dataclass
class Bench:
    """What tests hold: the port, the front desk over the log, and the client of the server."""

    client: Client
    deployed: Deployed
    cipher: Cipher | None = None
    spans: Spans = NO_SPANS
    log: MemoryLog = field(default_factory=MemoryLog)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    task_queue: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self.log.create(TOPICS.specs(["default"]))
        self.payloads = Payloads(self.blobs, cipher=self.cipher)
        self.known: dict[GraphHash, Definition] = {}
        self.workflows = TemporalWorkflows(
            self._connected, TOPICS, self._definition, task_queue=self.task_queue, spans=self.spans
        )
        self.runs = Runs(
            topics=TOPICS,
            appender=self.log,
            reader=self.log,
            payloads=self.payloads,
            clock=SystemClock(),
            partition=lambda run: partition_of(run.encode(), TOPICS.partitions),
        )

    def _definition(self, found: GraphHash) -> Definition | None:
        return self.known.get(found) or self.deployed.definition(found)

    async def _connected(self) -> Client:
        return self.client

    def activities(self) -> Activities:
        """What a worker of this process does."""
        return Activities(
            client=self.client,
            topics=TOPICS,
            deployment=self.deployed,
            appender=self.log,
            reader=self.log,
            payloads=self.payloads,
            blobs=self.blobs,
            executions=Executions(open_resource=open_resource),
            clock=SystemClock(),
            name="test",
            telemetry=NoTelemetry(),
            spans=self.spans,
        )

    def worker(self, **options: Any) -> TemporalWorker:
        """A worker of this process."""
        return TemporalWorker(self.client, self.activities(), task_queue=self.task_queue, grace_seconds=0.5, **options)

    async def start(
        self,
        work: Any,
        value: Any,
        *,
        parent: Parent | None = None,
        run: RunId | None = None,
        trace: str | None = None,
    ) -> RunId:
        """Begin a run of this graph."""
        program: Program = work.compile()
        run = run or RunId(secrets.token_hex(16))
        json = program.input.dump_python(program.input.validate_python(value), mode="json")
        await self.workflows.start(
            RunRequested(
                run=run,
                key=str(run),
                at_ms=SystemClock().now_ms(),
                graph=program.definition.name,
                definition=program.definition.hash,
                input=await self.payloads.store(run, json),
                digest=self.payloads.digest(json),
                parent=parent,
                trace=trace,
            )
        )
        return run

    async def signal(self, run: RunId, name: str, value: Json, *, number: str = "1") -> None:
        """Signal a run."""
        content = await self.payloads.store(run, value)
        at = SystemClock().now_ms()
        await self.workflows.signal(
            SignalReceived(run=run, key=str(run), at_ms=at, signal=name, id=number, value=content)
        )

    async def close(self) -> None:
        await self.runs.close()
        await self.workflows.close()


@asynccontextmanager
async def bench(
    client: Client, works: Iterable[Any], *, cipher: Cipher | None = None, spans: Spans = NO_SPANS, **options: Any
) -> AsyncIterator[Bench]:
    """A bench with one worker."""
    made = Bench(client, Deployed(work.compile() for work in works), cipher, spans)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.close)
        threads = stack.enter_context(started_threads(2))
        await stack.enter_async_context(made.worker(threads=threads, **options))
        yield made


@contextmanager
def started_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are all there from the start: tests that share a worker look for those that they leave."""
    with ThreadPoolExecutor(count, "workflows") as threads:
        barrier = threading.Barrier(count)
        for begun in [threads.submit(barrier.wait) for _ in range(count)]:
            begun.result()
        yield threads
