"""Streaming edges on real processes: read live, and right whoever is killed in the midst of a stream."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import pytest

from beluga_stream import Client, Run, connect
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.application import codec
from beluga_stream.application.clients.results import Chunk as Shown
from beluga_stream.application.messages import ChunkEmitted, Progress, Result
from beluga_stream.application.partitioner import partition_of
from beluga_stream.bootstrap.connection import kafka, topics
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.ids import key_of, run_id
from tests.chaos.cluster import Deployment, Process
from tests.integration.stream_agents.graphs import LEDGER, Order, Report

pytestmark = pytest.mark.timeout(300)

_AGENTS = Path(__file__).parent / "stream_agents"
_WAIT_SECONDS = 120
_PARTITIONS = 4
_ROLES = {
    "coordinator": ("coordinator", {}),
    "writer": ("worker", {"BELUGA_QUEUES": "writers"}),
    "reader": ("worker", {"BELUGA_QUEUES": "readers"}),
    "worker": ("worker", {}),
    "narrow": ("worker", {"BELUGA_WORKER_SLOTS": "2"}),
}


class Field:
    """The engine in several processes, each with a part of its own. Use it with `async with`."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.processes: dict[str, Process] = {}
        self._made = 0

    async def __aenter__(self) -> Self:
        (self.deployment.folder / "topics").mkdir(parents=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for part in tuple(self.processes):
            await self.kill(part)

    async def start(self, *parts: str) -> None:
        """Start processes with these parts."""
        for part in parts:
            role, environ = _ROLES[part]
            self._made += 1
            own = replace(self.deployment, environ={**self.deployment.environ, **environ})
            self.processes[part] = Process(own, role, f"{part}-{self._made}", part)
        await asyncio.gather(*(self.processes[part].ready() for part in parts))

    async def kill(self, part: str) -> None:
        """`kill -9`."""
        process = self.processes.pop(part)
        process.send(signal.SIGKILL)
        await process.ended(10)


@pytest.fixture
async def field(broker: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Field]:
    environ = {
        "BELUGA_AGENTS": str(_AGENTS),
        "BELUGA_LEASE_AFTER_SECONDS": "1",
        "BELUGA_LEASE_SECONDS": "5",
        "BELUGA_HEARTBEAT_SECONDS": "1",
        LEDGER: str(tmp_path / "ledger"),
    }
    (tmp_path / "ledger").touch()
    async with Field(Deployment(broker, f"{topic_prefix}edges", tmp_path, environ=environ)) as made:
        yield made


@pytest.fixture
async def client(field: Field, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    for name in ("BELUGA_BROKER", "BELUGA_PREFIX", "BELUGA_PARTITIONS", "BELUGA_BLOBS"):
        monkeypatch.setenv(name, field.deployment.settings()[name])
    async with connect() as client:
        yield client


async def shown(run: Run[Any], *, until: int) -> list[Shown]:
    """The chunks of the run, until so many were given by the reading node."""
    found: list[Shown] = []
    async with asyncio.timeout(_WAIT_SECONDS), aclosing(run.stream()) as events:
        async for event in events:
            if isinstance(event, Shown):
                found.append(event)
                if sum(each.node == "reads" for each in found) == until:
                    break
    return found


def executions(marks: list[str]) -> list[str]:
    """Whose chunks follow on whose."""
    return [by for by, _ in groupby(marks)]


def noted(field: Field) -> list[tuple[str, int, str, int]]:
    """What readers have taken: the run, the number of the chunk, the reading execution, and its process."""
    lines = [line.split() for line in (field.deployment.folder / "ledger").read_text().splitlines()]
    return [(run, int(number), reader, int(pid)) for run, number, reader, pid in lines]


async def test_a_reader_gives_its_first_output_while_its_writer_still_writes(field: Field, client: Client) -> None:
    await field.start("coordinator", "writer", "reader")
    run = await client.start("restarting", Order(chunks=30, pace=0.05))
    chunks = await shown(run, until=30)
    places = {
        node: [int(each.cursor.partition("-")[2]) for each in chunks if each.node == node]
        for node in ("writes", "reads")
    }
    assert places["reads"][0] < places["writes"][-1]
    report = Report.model_validate(await run.result(timeout=_WAIT_SECONDS))
    assert [seen.chunk for seen in report.seen] == report.written
    assert [chunk.number for chunk in report.written] == list(range(30))


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
@pytest.mark.parametrize("graph", ["restarting", "resuming"])
@pytest.mark.parametrize("victim", ["writer", "reader", "coordinator"])
async def test_no_stream_is_mixed_or_broken_by_a_kill_in_its_midst(
    field: Field, client: Client, graph: str, victim: str
) -> None:
    await field.start("coordinator", "writer", "reader")
    run = await client.start(graph, Order(chunks=40, pace=0.2))
    await shown(run, until=12)  # more than two seconds: by now it is held by a lease
    await field.kill(victim)
    await field.start(victim)
    report = Report.model_validate(await run.result(timeout=_WAIT_SECONDS))
    assert [chunk.number for chunk in report.written] == list(range(40))
    assert [seen.chunk for seen in report.seen] == report.written
    writers = executions([chunk.by for chunk in report.written])
    resumed = graph == "resuming" and victim == "writer"
    assert len(writers) == (2 if resumed else 1)
    assert len(executions([seen.by for seen in report.seen])) == 1
    if graph == "resuming" and victim != "reader":
        # Its reader was not begun again, and took every chunk once.
        assert [number for of, number, _, _ in noted(field) if of == run.id] == list(range(40))


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
async def test_readers_that_hold_every_slot_let_go_of_them_for_their_writers(field: Field, client: Client) -> None:
    await field.start("coordinator", "worker")
    runs: list[Run[Any]] = []
    for key, graph in zip(
        one_for_each_partition("restarting", "resuming"), ("restarting", "resuming") * 4, strict=True
    ):
        order = Order(chunks=40, pace=0.1, delay=12)
        runs.append(await client.start(graph, order, idempotency_key=key))
    # Their writers go on where they are, and half of their readers begin here, two at a time.
    await field.start("narrow")
    narrow = field.processes["narrow"].pid
    async with asyncio.timeout(_WAIT_SECONDS):
        while len({run for run, _, _, pid in noted(field) if pid == narrow}) < 2:  # noqa: ASYNC110 - they tell by a file
            await asyncio.sleep(0.1)
    await field.kill("worker")
    for run in runs:
        report = Report.model_validate(await run.result(timeout=_WAIT_SECONDS))
        assert [chunk.number for chunk in report.written] == list(range(40))
        assert [seen.chunk for seen in report.seen] == report.written


async def test_the_first_item_is_done_while_the_writer_still_writes(field: Field, client: Client) -> None:
    await field.start("coordinator", "writer", "reader")
    run = await client.start("mapped_restarting", Order(chunks=100, pace=0.05))
    report = Report.model_validate(await run.result(timeout=_WAIT_SECONDS))
    assert [seen.chunk for seen in report.seen] == report.written
    assert [chunk.number for chunk in report.written] == list(range(100))
    results = await results_of(field, run)
    done = [
        offset
        for offset, each in results
        if isinstance(each, Progress)
        for change in each.nodes
        if change.node.endswith("]") and ":" not in change.node and change.status == "succeeded"
    ]
    chunks = [offset for offset, each in results if isinstance(each, ChunkEmitted)]
    assert len(done) == len(chunks) == 100
    assert done[0] < chunks[-1]
    assert done[0] < chunks[50], "an item is done soon after its chunk, and not with its page"


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
@pytest.mark.parametrize("graph", ["mapped_restarting", "mapped_resuming"])
@pytest.mark.parametrize("victim", ["writer", "reader", "coordinator"])
async def test_no_map_over_a_stream_is_mixed_or_broken_by_a_kill_in_its_midst(
    field: Field, client: Client, graph: str, victim: str
) -> None:
    await field.start("coordinator", "writer", "reader")
    run = await client.start(graph, Order(chunks=90, pace=0.1))
    async with asyncio.timeout(_WAIT_SECONDS):
        while len(noted(field)) < 30:  # noqa: ASYNC110 - they tell by a file
            await asyncio.sleep(0.1)
    await field.kill(victim)
    await field.start(victim)
    report = Report.model_validate(await run.result(timeout=_WAIT_SECONDS))
    assert [chunk.number for chunk in report.written] == list(range(90))
    assert [seen.chunk for seen in report.seen] == report.written
    resumed = graph == "mapped_resuming" and victim == "writer"
    assert len(executions([chunk.by for chunk in report.written])) == (2 if resumed else 1)
    if victim == "coordinator" or resumed:
        # No item ran twice.
        assert sorted(number for _, number, _, _ in noted(field)) == list(range(90))


async def results_of(field: Field, run: Run[Any]) -> list[tuple[int, Result]]:
    """All that `run-results` has of the run, its pages among it, each with its offset."""
    given = field.deployment.settings()
    settings = Settings.load(broker=given["BELUGA_BROKER"], prefix=given["BELUGA_PREFIX"], partitions=_PARTITIONS)
    topic, partition = topics(settings).run_results, partition_of(run.id.encode(), _PARTITIONS)
    found: list[tuple[int, Result]] = []
    async with KafkaReader(kafka(settings)) as reader:
        async for records in reader.read(topic, {partition: 0}, until=await reader.end(topic)):
            found.extend((each.offset, codec.results.decode(each.value)) for each in records)
    return [(offset, each) for offset, each in found if key_of(each.run) == run.id]


def one_for_each_partition(*graphs: str) -> list[str]:
    """Keys of starts, of these graphs by turns, so that each has a run in every partition."""
    found: dict[tuple[str, int], str] = {}
    for number in range(200):
        for graph in graphs:
            partition = partition_of(run_id(graph, "api", str(number)).encode(), _PARTITIONS)
            found.setdefault((graph, partition), str(number))
    return [found[graph, partition] for partition in range(_PARTITIONS) for graph in graphs]
