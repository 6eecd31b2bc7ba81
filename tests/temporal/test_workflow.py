"""`Workflow`, as users have it: durable graphs and classes of their own, and what can be wrong."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from beluga_stream import (
    BufferMemory,
    Defaults,
    Features,
    Graph,
    Limit,
    Orchestrator,
    SQLiteStore,
    temporal_worker,
)
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import (
    ExecutionFailed,
    InvalidConfig,
    InvalidGraph,
    InvalidInput,
    InvalidState,
    NotFound,
    RunFailed,
    TaskCanceled,
    TemporalUnavailable,
    TimedOut,
)
from tests.temporal import works
from tests.temporal.works import Greeting
from tests.temporal_server import free_port


@pytest.fixture
async def orch(settings: Settings) -> AsyncIterator[Orchestrator]:
    """An orchestrator, and a worker of this process."""
    async with AsyncExitStack() as stack:
        orch = await stack.enter_async_context(Orchestrator(settings))
        await stack.enter_async_context(
            temporal_worker(
                works.asking,
                works.failing,
                workflows=[Greeting],
                activities=[works.greet],
                settings=settings,
                log="memory",
            )
        )
        yield orch


async def test_a_graph_is_executed_signalled_and_asked(orch: Orchestrator) -> None:
    asking = orch.create_workflow(works.asking, description="asks", metadata={"owner": "tests"})
    run = await asking.execute(3)
    await asking.signal(run, works.approval, value=True)
    assert await asking.get_result(run, timeout=30) == "3 True"
    assert (await asking.query(run))["status"] == "succeeded"
    described = await asking.describe(run)
    assert (described.state, described.metadata) == ("succeeded", {"owner": "tests"})
    assert described.started is not None
    assert described.ended is not None
    await asking.check()
    await orch.check()
    with pytest.raises(NotFound):
        await asking.signal(run, works.approval, value=True)


async def test_a_class_is_executed_signalled_asked_and_changed(orch: Orchestrator) -> None:
    greeting = orch.create_workflow(Greeting)
    run = await greeting.execute("ann")
    assert await greeting.update(run, "add", "bob") == 2
    assert await greeting.query(run, "names") == ["ann", "bob"]
    with pytest.raises(TimedOut, match="goes on"):
        await greeting.get_result(run, timeout=0.05)
    await greeting.signal(run, "finish")
    assert await greeting.get_result(run.workflow_id, timeout=30) == ["hello ann", "hello bob"]


async def test_a_signal_that_nothing_waits_for_is_refused_before_it_is_sent(orch: Orchestrator) -> None:
    asking = orch.create_workflow(works.asking)
    run = await asking.execute(3)
    with pytest.raises(NotFound, match="waits for no signal 'aproval': is 'approval' meant"):
        await asking.signal(run, "aproval", value=True)
    # A workflow is what it began as, whatever the graph is now.
    later = Graph[int, int](works.asking.name, durable=True)
    later.set_finish_point(later.add_node(works.increment, later.input))
    await orch.create_workflow(later).signal(run, works.approval, value=True)
    assert await asking.get_result(run, timeout=30) == "3 True"


async def test_an_activity_may_be_a_plain_function(settings: Settings) -> None:
    serving = temporal_worker(
        workflows=[works.GreetingInAThread], activities=[works.greet_in_a_thread], settings=settings, log="memory"
    )
    async with Orchestrator(settings) as orch, serving:
        greeting = orch.create_workflow(works.GreetingInAThread)
        assert await greeting.get_result(await greeting.execute("ann"), timeout=30) == "hello ann in beluga-activity"


@pytest.mark.parametrize("served", [{"workflows": [object]}, {"activities": [len]}], ids=["workflow", "activity"])
async def test_a_worker_serves_only_what_is_decorated(settings: Settings, served: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="cannot serve"):
        async with temporal_worker(settings=settings, log="memory", **served):
            pass


async def test_what_is_unknown_is_told(orch: Orchestrator) -> None:
    greeting = orch.create_workflow(Greeting)
    run = await greeting.execute("ann")
    for asked in (greeting.query(run, "nothing"), greeting.update(run, "nothing"), greeting.query("nobody", "names")):
        with pytest.raises(NotFound):
            await asked
    for left in (greeting.get_result("nobody"), greeting.cancel("nobody"), greeting.describe("nobody")):
        with pytest.raises(NotFound):
            await left
    with pytest.raises(ExecutionFailed, match="this query is broken"):
        await greeting.query(run, "breaks")
    await greeting.terminate(run, "over")


async def test_an_id_is_taken_once(orch: Orchestrator) -> None:
    greeting, chosen = orch.create_workflow(Greeting), secrets.token_hex(8)
    run = await greeting.execute("ann", id=chosen)
    with pytest.raises(InvalidState, match="is taken"):
        await greeting.execute("bob", id=chosen)
    await greeting.cancel(run)
    with pytest.raises(TaskCanceled):
        await greeting.get_result(run, timeout=30)


async def test_one_that_is_terminated_by_hand_has_no_result(orch: Orchestrator) -> None:
    greeting = orch.create_workflow(Greeting)
    run = await greeting.execute("ann")
    await greeting.terminate(run, "enough")
    with pytest.raises(TaskCanceled, match=r"terminated.*enough"):
        await greeting.get_result(run, timeout=30)
    assert (await greeting.describe(run)).state == "terminated"
    with pytest.raises(NotFound):
        await greeting.terminate(run)


async def test_one_that_takes_too_long_says_so(orch: Orchestrator) -> None:
    greeting = orch.create_workflow(Greeting, timeout=1)
    with pytest.raises(TimedOut):
        await greeting.get_result(await greeting.execute("ann"), timeout=30)


async def test_a_failure_names_what_failed(orch: Orchestrator) -> None:
    failing = orch.create_workflow(works.failing)
    with pytest.raises(RunFailed, match="never 3") as failed:
        await failing.get_result(await failing.execute(3), timeout=30)
    assert (failed.value.reason, failed.value.ids["node"]) == ("execution_failed", "broken")
    greeting = orch.create_workflow(Greeting, retries=0)
    with pytest.raises(RunFailed, match="NoName: a name is needed"):
        await greeting.get_result(await greeting.execute(""), timeout=30)


async def test_a_class_that_fails_is_begun_again_as_often_as_it_may(settings: Settings) -> None:
    async with (
        Orchestrator(settings) as orch,
        temporal_worker(workflows=[works.SecondTime], settings=settings, log="memory"),
    ):
        twice = orch.create_workflow(works.SecondTime, retries=1)
        assert await twice.get_result(await twice.execute(7), timeout=30) == 7
        once = orch.create_workflow(works.SecondTime, retries=0)
        with pytest.raises(ExecutionFailed, match="not yet"):
            await once.get_result(await once.execute(7), timeout=30)


async def test_a_durable_graph_remembers(settings: Settings, tmp_path: Path) -> None:
    memory = BufferMemory(store=SQLiteStore(tmp_path / "memory.db"))
    graph = Graph[str, int]("durable-remembering", durable=True, memory=memory)
    graph.set_finish_point(graph.add_node(works.turns_before, graph.input))
    async with Orchestrator(settings) as orch, temporal_worker(graph, settings=settings, log="memory"):
        talk = orch.create_workflow(graph)
        for turn in range(3):
            assert await talk.get_result(await talk.execute("again"), timeout=30) == turn


async def test_an_input_that_fails_its_type_is_refused(orch: Orchestrator) -> None:
    with pytest.raises(InvalidInput):
        await orch.create_workflow(works.failing).execute("no number")  # type: ignore[arg-type]  # what it is about


async def test_workflows_are_counted_and_traced(settings: Settings) -> None:
    reader, spans, tracers = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meter = MeterProvider([reader]).get_meter("test")
    async with (
        Orchestrator(settings, meter=meter, tracer=tracers.get_tracer("test")) as orch,
        temporal_worker(works.failing, works.asking, settings=settings, log="memory"),
    ):
        failing, asking = orch.create_workflow(works.failing), orch.create_workflow(works.asking, name="asked")
        open_one = await asking.execute(1)
        with pytest.raises(RunFailed):
            await failing.get_result(await failing.execute(3), timeout=30)
        async with asyncio.timeout(30):
            while orch.metrics().workflows.executions < 1:  # noqa: ASYNC110 - it tells no event
                await asyncio.sleep(0.01)
        told = orch.metrics()
        assert (told.workflows.executions, told.workflows.errors, told.active_workflows) == (1, 1, 1)
        await asking.cancel(open_one)
    assert orch.metrics().active_workflows == 0
    data = reader.get_metrics_data()
    assert data is not None
    names = {metric.name for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics}
    assert "beluga_orchestration_workflow_executions_total" in names
    assert {span.name for span in spans.get_finished_spans()} >= {
        "workflow.execute",
        "workflow.get_result",
        "workflow.cancel",
    }


async def test_without_a_server_the_answer_comes_soon() -> None:
    async with Orchestrator(Settings.load(temporal_address=f"127.0.0.1:{free_port()}")) as orch:
        greeting = orch.create_workflow(Greeting)
        async with asyncio.timeout(20):
            with pytest.raises(TemporalUnavailable, match="is not there") as refused:
                await greeting.execute("ann")
            with pytest.raises(TemporalUnavailable):
                await greeting.check()
        assert (refused.value.code, refused.value.retryable) == ("dependency_failed", True)


async def test_a_task_queue_that_nobody_serves_is_told_by_a_query(settings: Settings) -> None:
    async with Orchestrator(settings) as orch:
        greeting = orch.create_workflow(Greeting)
        run = await greeting.execute("ann")
        with pytest.raises(TemporalUnavailable, match="a worker of its task queue"):
            await greeting.query(run, "names")
        await greeting.terminate(run)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": 367 * 86_400}, "8784 hours"),
        ({"retries": 21}, "retries"),
        ({"task_queue": ""}, "task_queue"),
        ({"task_queue": "q" * 256}, "task_queue"),
        ({"provider": "local"}, "runs no workflows"),
    ],
)
async def test_options_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    async with Orchestrator() as orch:
        with pytest.raises(InvalidConfig, match=told):
            orch.create_workflow(Greeting, **options)


async def test_what_is_no_workflow_is_refused() -> None:
    async with Orchestrator() as orch:
        with pytest.raises(InvalidConfig, match=r"workflow\.defn"):
            orch.create_workflow(Settings)
        with pytest.raises(InvalidConfig, match="not durable"):
            orch.create_workflow(Graph[int, int]("here"))
        with pytest.raises(InvalidConfig, match="workflow classes"):
            orch.create_workflow(works.failing, retries=2)
    with pytest.raises(InvalidConfig, match="workflows have no workers"):
        Orchestrator(workflows=Defaults(max_workers=2))
    async with Orchestrator(features=Features(workflows=False)) as off:
        with pytest.raises(InvalidState, match="switched off"):
            off.create_workflow(Greeting)


async def test_defaults_are_those_of_the_field() -> None:
    async with Orchestrator() as orch:
        options = orch.create_workflow(Greeting).options
        assert (options.timeout, options.retries) == (works.timedelta(minutes=30), 5)
        of_graph = orch.create_workflow(works.asking).options
        assert (of_graph.timeout, of_graph.retries) == (None, 0)


async def test_a_durable_graph_takes_no_limits() -> None:
    graph = Graph[int, int]("durable-limited", durable=True)
    graph.set_finish_point(graph.add_node(works.increment, graph.input, limit=Limit(1)))
    with pytest.raises(InvalidGraph, match="coordinator"):
        graph.compile()


async def test_a_durable_graph_runs_here_too() -> None:
    assert await works.asking.invoke(3, signals={works.approval: True}) == "3 True"
