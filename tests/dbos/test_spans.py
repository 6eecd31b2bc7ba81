"""What runs on DBOS trace: in the trace of who started them, and once, whoever takes them over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from beluga_stream import Orchestrator
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import RunFailed
from tests.temporal import works


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracers(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield tracers
    tracers.shutdown()


def told(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Each span by what it is of. None is told twice."""
    found: dict[str, ReadableSpan] = {}
    for span in exporter.get_finished_spans():
        attributes = span.attributes or {}
        name = str(attributes.get("beluga.node", span.name))
        if span.name == "graph.invoke" and "beluga.run" not in attributes:
            name = "called"
        assert name not in found
        found[name] = span
    return found


def is_inside(span: ReadableSpan, other: ReadableSpan) -> bool:
    return span.parent is not None and (span.parent.trace_id, span.parent.span_id) == (
        other.context.trace_id,
        other.context.span_id,
    )


async def test_a_workflow_is_one_trace_also_when_another_process_ends_it(
    tmp_path: Path, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    settings = Settings.load(dbos_database=str(tmp_path / "dbos.sqlite"))
    async with Orchestrator(settings, tracer=tracers.get_tracer("first")) as orch:
        await orch.create_workflow(works.asking, provider="dbos").execute(3, id="one")
    async with Orchestrator(settings, tracer=tracers.get_tracer("second")) as orch:
        asking = orch.create_workflow(works.asking, provider="dbos")
        await asking.signal("one", works.approval, value=True)
        assert await asking.get_result("one", timeout=30) == "3 True"
    found = told(exporter)
    assert is_inside(found["graph.invoke"], found["workflow.execute"])
    assert is_inside(found["increment"], found["graph.invoke"])
    assert is_inside(found["decided"], found["graph.invoke"])


async def test_a_run_of_the_provider_is_inside_of_its_invoke_and_fails_with_it(
    tmp_path: Path, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    settings = Settings.load(dbos_database=str(tmp_path / "dbos.sqlite"))
    async with Orchestrator(settings, tracer=tracers.get_tracer("test")) as orch:
        graph = orch.create_graph("traced", int, int, provider="dbos", retries=0)
        graph.set_finish_point(graph.add_node(works.broken, graph.input))
        with pytest.raises(RunFailed):
            await graph.invoke(3)
    found = told(exporter)
    assert is_inside(found["graph.invoke"], found["called"])
    assert is_inside(found["broken"], found["graph.invoke"])
    assert {span.status.status_code for span in found.values()} == {StatusCode.ERROR}
    assert (found["broken"].attributes or {})["error.type"] == "execution_failed"
