"""What a durable subgraph costs more than Temporal alone: the same one activity on the same server, in turns."""

import asyncio
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.ids import NodeKey, RunId, near_run_id
from beluga_stream.ports.log import Outgoing
from benchmarks.engine import EngineProcess
from benchmarks.figures import Figure, median_of, quantile
from benchmarks.plain_workflow import Plain
from benchmarks.traffic import Traffic, ends_run
from tests.temporal_server import temporal_server

_AGENTS = Path(__file__).with_name("durable_agents")
_ROLES = ("coordinator", "worker", "workflows")
_PATIENCE_SECONDS = 60.0
_MOST_MORE_MS = 20.0


async def cost(settings: Settings, folder: Path, *, rounds: int, runs: int, warm: int) -> list[Figure]:
    """From before a start is sent until its end is read: a run whose one node is durable, and a plain workflow."""
    queue = f"bench-{secrets.token_hex(3)}"
    named = settings.model_copy(update={"prefix": queue})
    with ExitStack() as stack:
        address = stack.enter_context(temporal_server(folder))
        stack.enter_context(_plain_worker(address, f"{queue}-plain"))
        engine = stack.enter_context(_engine(named, folder, address, queue))
        client = await Client.connect(address)
        async with (
            Traffic.open(settings.broker, Topics(queue, settings.partitions)) as traffic,
            traffic.reading(traffic.topics.run_results) as consumer,
        ):
            figures = []
            for number in range(1 + rounds):
                found = await _round(client, traffic, consumer, f"{queue}-plain", warm if number == 0 else runs)
                if number > 0:
                    figures.append(found)
            counted = await _counted(client, traffic, consumer, f"{queue}-plain")
        for process in engine:
            process.check()
    return [*median_of(figures), *counted]


async def _round(
    client: Client, traffic: Traffic, consumer: AIOKafkaConsumer, queue: str, runs: int
) -> Sequence[Figure]:
    plain: list[float] = []
    durable: list[float] = []
    for request in traffic.requests("keeping", 1, runs):
        # In turns, so that whatever else the machine does slows both.
        began = time.perf_counter()
        await _plain(client, queue)
        plain.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        await _durable(traffic, consumer, request)
        durable.append((time.perf_counter() - began) * 1000)
    more = quantile(durable, 0.5) - quantile(plain, 0.5)
    return [
        Figure("yardstick: a plain workflow of one activity, p50", quantile(plain, 0.5), "ms"),
        Figure("a run with a durable subgraph of the same activity, p50", quantile(durable, 0.5), "ms"),
        Figure("a durable subgraph costs more than the plain workflow, p50", more, "ms", _MOST_MORE_MS),
        Figure("yardstick: a plain workflow of one activity, p90", quantile(plain, 0.9), "ms"),
        Figure("a run with a durable subgraph of the same activity, p90", quantile(durable, 0.9), "ms"),
    ]


async def _plain(client: Client, queue: str) -> str:
    """One plain workflow, to its end; its id."""
    workflow = secrets.token_hex(16)
    assert await client.execute_workflow(Plain.run, 1, id=workflow, task_queue=queue) == 2
    return workflow


async def _durable(traffic: Traffic, consumer: AIOKafkaConsumer, request: Outgoing) -> None:
    """One run, to the end that its readers have."""
    await traffic.send([request])
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not any(
            record.key == request.key and ends_run(record)
            for records in (await consumer.getmany(timeout_ms=1000)).values()
            for record in records
        ):
            pass


async def _counted(client: Client, traffic: Traffic, consumer: AIOKafkaConsumer, queue: str) -> Sequence[Figure]:
    """What the server keeps of each: a count that the machine's load does not change."""
    [request] = traffic.requests("keeping", 1, 1)
    await _durable(traffic, consumer, request)
    assert request.key is not None
    kept = near_run_id(RunId(request.key.decode()), NodeKey("kept"))
    figures: list[Figure] = []
    for name, workflow in (("a plain workflow", await _plain(client, queue)), ("a durable subgraph", str(kept))):
        await client.get_workflow_handle(workflow).result()
        history = await client.get_workflow_handle(workflow).fetch_history()
        kinds = Counter(event.event_type for event in history.events)
        tasks = kinds[EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        note = f"{tasks} workflow tasks, {kinds[EventType.EVENT_TYPE_MARKER_RECORDED]} local activities"
        figures.append(Figure(f"history of {name}", len(history.events), "events", note=note))
    return figures


@contextmanager
def _engine(settings: Settings, folder: Path, temporal: str, queue: str) -> Iterator[Sequence[EngineProcess]]:
    processes = [
        EngineProcess(
            [role],
            settings.broker,
            settings.prefix,
            folder,
            variables={"BELUGA_AGENTS": str(_AGENTS)},
            temporal_address=temporal,
            temporal_task_queue=queue,
        )
        for role in _ROLES
    ]
    try:
        for process in processes:
            process.wait_until_ready()
        yield processes
    finally:
        for process in processes:
            process.stop()


@contextmanager
def _plain_worker(address: str, queue: str) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.plain_workflow", address, queue]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
            yield
        finally:
            process.terminate()
