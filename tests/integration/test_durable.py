"""Durable graphs in event-driven runs: real Kafka, a real Temporal, and a process for each of the engine's roles."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from beluga_stream import Chunk, Event, NodeChanged, RunChanged, Signal, connect
from beluga_stream.adapters.embedded.broker import free_port
from beluga_stream.adapters.embedded.temporal import EmbeddedTemporal
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.ids import run_id
from beluga_stream.errors import InvalidState, RunFailed, RunRejected, TaskCanceled
from tests.engine import Engine, client_environ
from tests.observed import ask
from tests.otlp import ReceivedSpan, Receiver, receiving

_ANY: Any = None
"""Stands for a graph whose code is the engine's."""

_AGENTS = Path(__file__).with_name("durable_agents")
_ROLES = ("coordinator", "worker", "workflows")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass
class Field:
    """An engine whose roles are processes of their own, that share one prefix."""

    broker: str
    folder: Path
    settings: Mapping[str, str]
    exports: Mapping[str, str]
    prefix: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:10]}")
    engines: dict[str, Engine] = field(default_factory=dict)

    def start(self, role: str, **own: str) -> Engine:
        folder = self.folder / f"{role}-{uuid.uuid4().hex[:4]}"
        folder.mkdir()
        engine = Engine(
            self.broker,
            folder,
            prefix=self.prefix,
            role=role,
            agents=str(_AGENTS),
            blobs=str(self.folder / "blobs"),
            session_timeout_seconds="6",
            lease_seconds="6",
            **self.settings,
            **own,
        )
        engine.environ |= {"NOTES": str(self.folder), **self.exports}
        engine.start(groups=1)
        self.engines[role] = engine
        return engine

    def kill(self, role: str) -> None:
        os.kill(self.engines[role].pid, signal.SIGKILL)
        assert self.engines[role].stop() == -signal.SIGKILL

    def pause(self, role: str) -> None:
        os.kill(self.engines[role].pid, signal.SIGSTOP)

    async def start_again(self) -> None:
        """All roles at once, since each waits until the dead member of its group is given up."""
        await asyncio.gather(*(asyncio.to_thread(self.start, role) for role in _ROLES))

    @property
    def environ(self) -> dict[str, str]:
        return client_environ(next(iter(self.engines.values())))

    @asynccontextmanager
    async def client(self) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            async with connect() as client:
                yield client

    def beluga(self, *words: str) -> Any:
        """What the command line says, as JSON."""
        said = subprocess.run(
            [sys.executable, "-m", "beluga_stream.cli", *words, "--json"],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)


@contextmanager
def fielded(
    broker: str, folder: Path, *roles: str, exports: Mapping[str, str] = MappingProxyType({}), **settings: str
) -> Iterator[Field]:
    made = Field(broker, folder, settings, exports)
    with ExitStack() as stack:
        for role in roles:
            made.start(role)
            stack.callback(lambda role=role: made.engines[role].stop())
        yield made


@pytest.fixture
def durable(broker: str, temporal_address: str, tmp_path: Path) -> Iterator[Field]:
    """Coordinator, worker and workflows, with Temporal."""
    settings = {"temporal_address": temporal_address, "look_after_seconds": "2"}
    with fielded(broker, tmp_path, *_ROLES, temporal_task_queue=uuid.uuid4().hex, **settings) as made:
        yield made


def temporal_answers(port: int) -> bool:
    """What the process that is probed there says of it, among all that it depends on."""
    told = json.loads(ask(f"http://127.0.0.1:{port}/health")[1])
    dependencies = told["dependencies"]
    assert dependencies["broker"]["ok"]
    assert dependencies["blobs"]["ok"]
    return bool(dependencies["temporal"]["ok"])


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - of which nothing tells
            await asyncio.sleep(0.1)


async def until(run: Any, node: str, status: str) -> None:
    """Follow the run until a node of it has this status."""
    async with aclosing(run.stream()) as events:
        await told_until(events, node, status)


async def told_until(events: AsyncIterator[Event], node: str, status: str) -> list[Event]:
    """What a stream tells next, to this status of a node."""
    told: list[Event] = []
    async with asyncio.timeout(60):
        async for event in events:
            told.append(event)
            if isinstance(event, NodeChanged) and (event.node, event.status) == (node, status):
                return told
    raise AssertionError(f"{node} was never {status}")


async def test_a_durable_graph_that_is_started_shows_its_own_nodes_and_chunks(durable: Field) -> None:
    async with durable.client() as client:
        run = await client.start("sale", "7")
        await until(run, "decided", "waiting")
        shown = durable.beluga("runs", "show", run.id)["waits"]
        assert [(each["node"], each["on"]) for each in shown] == [("@workflow", "workflow"), ("decided", "signal")]
        durable.beluga("runs", "signal", run.id, "approval", '{"ok": true}')
        assert await run.result(timeout=60) == "may 7 be sold? yes"
        events = [event async for event in run.stream()]
    nodes = list(dict.fromkeys(event.node for event in events if isinstance(event, NodeChanged)))
    assert nodes == ["ask", "decided", "letter", "sign"]
    assert [event.value for event in events if isinstance(event, Chunk)] == ["may 7 be sold?", "yes"]
    [listed] = durable.beluga("runs", "list")
    assert (listed["run"], listed["graph"], listed["status"]) == (run.id, "sale", "succeeded")


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Temporal's test server, whose days pass at once. The engine's own clocks are the machine's."""
    server = str(Path(sys.executable).with_name("temporal-test-server"))
    async with await WorkflowEnvironment.start_time_skipping(test_server_existing_path=server) as environment:
        yield environment


def _of(span: ReceivedSpan) -> str:
    """The graph that it is of, or the graph and the node."""
    return ".".join(str(span.attributes[name]) for name in ("beluga.graph", "beluga.node") if name in span.attributes)


async def passed(skipping: WorkflowEnvironment, time: timedelta) -> None:
    """Let so much time pass. It stands still while a workflow has something to do and nobody who does it."""
    duration = Duration()
    duration.FromTimedelta(time)
    skip = skipping.client.test_service.unlock_time_skipping_with_sleep
    await skip(SleepRequest(duration=duration), timeout=timedelta(seconds=90))


async def handed_out(workflow: WorkflowHandle[Any, Any]) -> None:
    """Wait until a worker has been given a task of this workflow, and has not answered yet."""
    async with asyncio.timeout(30):
        while (await workflow.fetch_history()).events[-1].event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            pass


@pytest.fixture
def observed(broker: str, skipping: WorkflowEnvironment, tmp_path: Path) -> Iterator[tuple[Field, Receiver]]:
    """Coordinator, worker and workflows, with that server, and what receives their spans."""
    settings = {"temporal_address": skipping.client.service_client.config.target_host, "telemetry": "otlp"}
    with receiving() as receiver:
        exports = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with fielded(broker, tmp_path, *_ROLES, exports=exports, **settings) as made:
            yield made, receiver


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
async def test_an_approval_after_two_days_outlives_every_process_in_one_run_and_one_trace(
    observed: tuple[Field, Receiver], skipping: WorkflowEnvironment
) -> None:
    durable, receiver = observed
    trace, caller = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    async with durable.client() as client:
        run = client.run(_ANY, await client._desk().start("order", "seven", trace=f"00-{trace}-{caller}-01"))
        async with aclosing(run.stream()) as live:
            told = await told_until(live, "sale/decided", "waiting")
            [waits, inside] = durable.beluga("runs", "stuck", "--all")
            assert (waits["node"], waits["on"], waits["what"]) == ("sale", "workflow", f"durable run {run.id}.sale")
            assert (inside["node"], inside["on"], inside["what"]) == ("sale/decided", "signal", "signal 'approval'")
            assert inside["due_ms"] is not None
            receiver.wait(lambda spans: {"order.take", "sale.ask"} <= {_of(span) for span in spans})
            durable.kill("coordinator")
            durable.kill("worker")
            durable.pause("workflows")
            day = asyncio.ensure_future(passed(skipping, timedelta(days=1, hours=1)))
            await handed_out(skipping.client.get_workflow_handle(f"{run.id}.sale"))
            durable.kill("workflows")
            await asyncio.gather(day, durable.start_again())
            told += await told_until(live, "sale/decided", "waiting")  # the reminder
            await passed(skipping, timedelta(days=1))
            durable.beluga("runs", "signal", run.id, "approval", '{"ok": true}')
            told += [event async for event in live]
        assert await run.result(timeout=10) == f"may SEVEN be sold? yes {run.id}"
    assert [(event.node, event.value) for event in told if isinstance(event, Chunk)] == [
        ("sale/letter", "may SEVEN be sold?"),
        ("sale/letter", "yes"),
    ]
    decided = [event for event in told if isinstance(event, NodeChanged) and event.node == "sale/decided"]
    assert [event.status for event in decided] == ["waiting", "waiting", "succeeded"]
    assert decided[1].at_ms - decided[0].at_ms >= 86_400_000
    assert isinstance(told[-1], RunChanged)
    assert told[-1].status == "succeeded"
    assert [each["run"] for each in durable.beluga("runs", "list")] == [run.id]
    spans = receiver.wait(lambda spans: {"order", "order.ship", "sale", "sale.sign"} <= {_of(span) for span in spans})
    assert {span.trace for span in spans} == {trace}
    assert {span.attributes["beluga.run"] for span in spans} == {run.id, f"{run.id}.sale"}
    [whole] = {span.id for span in spans if _of(span) == "order"}
    [child] = {span.id for span in spans if _of(span) == "sale"}
    assert {(_of(span), span.service.removeprefix(f"{durable.prefix}-"), span.parent) for span in spans} == {
        ("order", "coordinator", caller),
        ("order.take", "worker", whole),
        ("sale", "workflows", whole),
        ("sale.ask", "workflows", child),
        ("sale.letter", "workflows", child),
        ("sale.sign", "workflows", child),
        ("order.ship", "worker", whole),
    }


async def test_all_that_a_run_tells_is_of_one_trace(durable: Field) -> None:
    trace = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
    async with durable.client() as client:
        desk = client._desk()
        run = await desk.start("order", "8", trace=trace)
        await desk.signal(run, "approval", {"ok": True})
        await desk.result(run, timeout_seconds=90)
    names = Topics(durable.prefix)
    settings = Settings(broker=durable.broker, prefix=durable.prefix)
    headers: dict[str, set[bytes]] = {}
    async with KafkaReader(kafka(settings)) as reader:
        for topic in (names.run_results, names.workflow_requests, names.run_events):
            begin, end = await reader.beginning(topic), await reader.end(topic)
            start = {number: at for number, at in begin.items() if at < end[number]}
            async with aclosing(reader.read(topic, start, until={number: end[number] for number in start})) as batches:
                async for batch in batches:
                    for record in batch:
                        found = dict(record.headers).get("traceparent", b"none")
                        headers.setdefault(topic, set()).add(found)
    assert headers[names.run_results] == {trace.encode()}
    assert headers[names.workflow_requests] == {trace.encode()}


async def test_a_cancel_reaches_the_handler_and_the_workflow(durable: Field, temporal_address: str) -> None:
    temporal = await Temporal.connect(temporal_address)
    async with durable.client() as client:
        run = await client.start("errand", "cancelled")
        await until(run, "lasting/endure", "running")
        await run.cancel("changed mind")
        with pytest.raises(TaskCanceled):
            await run.result(timeout=60)
        handle = temporal.get_workflow_handle(f"{run.id}.lasting")
        await eventually(lambda: (durable.folder / "cancelled").read_text() == "told to stop")
        stands = WorkflowExecutionStatus.RUNNING
        async with asyncio.timeout(60):
            while stands is WorkflowExecutionStatus.RUNNING:
                stands = (await handle.describe()).status or stands
        assert stands is WorkflowExecutionStatus.CANCELED


async def test_a_workflow_that_is_ended_by_hand_stops_the_handler_and_fails_the_run(
    durable: Field, temporal_address: str
) -> None:
    temporal = await Temporal.connect(temporal_address)
    async with durable.client() as client:
        runs = {how: await client.start("errand", how) for how in ("terminated", "cancelled")}
        workflows = {how: temporal.get_workflow_handle(f"{run.id}.lasting") for how, run in runs.items()}
        for run in runs.values():
            await until(run, "lasting/endure", "running")
        await workflows["terminated"].terminate("by hand")
        await workflows["cancelled"].cancel(reason="by hand")
        with pytest.raises(RunFailed, match="its workflow was terminated"):
            await runs["terminated"].result(timeout=90)
        with pytest.raises(RunFailed, match="by hand"):
            await runs["cancelled"].result(timeout=90)
        await eventually(lambda: {(durable.folder / how).read_text() for how in runs} == {"told to stop"})
        for how, run in runs.items():
            (durable.folder / f"{how}-need-not").touch()
            await run.retry()
            assert await run.result(timeout=60) == how  # by another workflow
        assert (await workflows["terminated"].describe()).status is WorkflowExecutionStatus.TERMINATED
        assert (await workflows["cancelled"].describe()).status is WorkflowExecutionStatus.CANCELED


async def test_without_temporal_a_durable_graph_is_refused_with_the_reason(broker: str, tmp_path: Path) -> None:
    with fielded(broker, tmp_path, "coordinator", "worker") as plain:
        async with plain.client() as client:
            for graph in ("sale", "order"):
                run = await client.start(graph, "7")
                with pytest.raises(RunRejected, match="no Temporal is configured") as refused:
                    await run.result(timeout=60)
                assert refused.value.reason == "invalid_state"


async def test_a_failed_run_goes_on_in_temporal_by_a_retry(durable: Field) -> None:
    async with durable.client() as client:
        run = await client.start("fragile", "it")
        with pytest.raises(RunFailed, match="broken"):
            await run.result(timeout=60)
        (durable.folder / "it-mended").touch()
        durable.beluga("runs", "retry", run.id)
        async with asyncio.timeout(60):
            while (await run.status()).status != "succeeded":  # noqa: ASYNC110 - it follows the stream
                await asyncio.sleep(0.1)
        assert await run.result(timeout=60) == "it is mended"
        with pytest.raises(InvalidState, match="only a failed run"):
            await run.retry()


async def test_a_durable_run_that_has_less_time_than_its_graph_undoes_what_it_did(durable: Field) -> None:
    async with durable.client() as client:
        run = await client.start("reservation", "7", timeout=2)
        with pytest.raises(RunFailed, match=r"the run did not end within 2 s") as failed:
            await run.result(timeout=60)
        assert failed.value.reason == "timeout"
        events = [event async for event in run.stream()]
    undone = [event.status for event in events if isinstance(event, NodeChanged) and event.node == "reserve~undo"]
    assert undone[-1] == "succeeded"


async def test_an_event_starts_one_durable_run_however_often_it_comes(durable: Field) -> None:
    durable.start("ingest")
    try:
        async with durable.client() as client:
            for _ in range(2):
                durable.beluga("publish", "durable-sales", '"9"', "--cloudevent", "--id", "event-9")
            run = client.run(_ANY, run_id("sale", "durable-sales", "beluga-cli\x1fevent-9"))
            await until(run, "decided", "waiting")
            durable.beluga("runs", "signal", run.id, "approval", '{"ok": false}')
            assert await run.result(timeout=60) == "may 9 be sold? no"
            assert len(await client.list(graph="sale")) == 1
    finally:
        durable.engines["ingest"].stop()


async def test_while_temporal_is_away_what_is_asked_of_it_waits(broker: str, tmp_path: Path) -> None:
    port = free_port()
    while port > 64_000:
        port = free_port()
    temporal = EmbeddedTemporal(port, tmp_path / "temporal", tmp_path / "temporal.log")
    settings = {"temporal_address": temporal.address, "look_after_seconds": "2"}
    with fielded(broker, tmp_path, "coordinator", "worker", **settings) as away:
        probed = free_port()
        away.start("workflows", probe_address=str(probed))
        async with away.client() as client:
            run = await client.start("sale", "7")
            await run.signal(Signal("approval", dict[str, bool]), {"ok": True})
            await eventually(lambda: bool(away.engines["workflows"].said("workflows_away")))
            assert not temporal_answers(probed)
            async with aclosing(run.stream()) as events:
                await anext(events)  # who hosts workflows may have told before the run was known
            assert (await run.status()).status == "running"
            try:
                await asyncio.to_thread(temporal.start)
                assert await run.result(timeout=90) == "may 7 be sold? yes"
                await eventually(lambda: temporal_answers(probed))
            finally:
                for role in _ROLES:
                    away.engines[role].stop()
                await asyncio.to_thread(temporal.stop)
