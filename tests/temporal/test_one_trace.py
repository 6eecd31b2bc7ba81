"""One trace of what an orchestrator starts on Temporal: from its call to the nodes and activities in the workers."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from beluga_stream import Orchestrator, temporal_worker
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import NotFound
from tests.temporal import works


class Traced:
    """Spans of two tracers, as those of two processes, by the name of what told them."""

    def __init__(self, exporter: InMemorySpanExporter, tracers: TracerProvider) -> None:
        self._exporter = exporter
        self.caller = self._tracer(tracers, "caller")
        self.worker = self._tracer(tracers, "worker")

    @staticmethod
    def _tracer(tracers: TracerProvider, name: str) -> Tracer:
        made = tracers.get_tracer(name)
        assert isinstance(made, Tracer)
        return made

    def one(self, name: str, by: str, **facts: object) -> ReadableSpan:
        """The span of this name that tells these facts, by their last name."""
        [found] = [
            span
            for span in self.all_by(by)
            if span.name == name
            and all((span.attributes or {}).get(f"beluga.{fact}") == value for fact, value in facts.items())
        ]
        return found

    def all_by(self, by: str) -> list[ReadableSpan]:
        """The spans of one of the two."""
        return [span for span in self._exporter.get_finished_spans() if _by(span) == by]


def _by(span: ReadableSpan) -> str:
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


def above(span: ReadableSpan) -> tuple[int, int] | None:
    """Trace and span that it is inside of."""
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def own(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


@pytest.fixture
def traced() -> Iterator[Traced]:
    exporter, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Traced(exporter, tracers)
    tracers.shutdown()


@pytest.fixture
async def orch(settings: Settings, traced: Traced) -> AsyncIterator[Orchestrator]:
    """An orchestrator, and a worker that traces by another tracer."""
    async with AsyncExitStack() as stack:
        orch = await stack.enter_async_context(Orchestrator(settings, tracer=traced.caller))
        await stack.enter_async_context(
            temporal_worker(
                works.asking,
                workflows=[works.Greeting],
                activities=[works.greet],
                settings=settings,
                log="memory",
                tracer=traced.worker,
            )
        )
        yield orch


async def test_a_workflow_of_a_graph_is_inside_of_its_execute(orch: Orchestrator, traced: Traced) -> None:
    asking = orch.create_workflow(works.asking)
    run = await asking.execute(3)
    await asking.signal(run, works.approval, value=True)
    assert await asking.get_result(run, timeout=30) == "3 True"
    begun = traced.one("workflow.execute", "caller")
    ran = traced.one("graph.invoke", "worker", run=run.workflow_id, status="succeeded")
    assert above(ran) == own(begun)
    for node in ("increment", "decided"):
        assert above(traced.one("graph.node.execute", "worker", run=run.workflow_id, node=node)) == own(ran)


async def test_runs_of_the_provider_are_inside_of_their_invoke(settings: Settings, traced: Traced) -> None:
    async with Orchestrator(settings, tracer=traced.caller) as orch:
        chain = orch.create_chain(works.increment, name="provided-chain", provider="temporal")
        graph = orch.create_graph("provided-graph", int, int, provider="temporal")
        graph.set_finish_point(graph.add_node(works.increment, graph.input))
        async with temporal_worker(chain, graph, settings=settings, log="memory", tracer=traced.worker):
            assert (await chain.invoke(1), await graph.invoke(2)) == (2, 3)
    for kind, step in (("chain", "chain.step"), ("graph", "graph.node.execute")):
        ran = traced.one(f"{kind}.invoke", "worker")
        assert above(ran) == own(traced.one(f"{kind}.invoke", "caller"))
        assert above(traced.one(step, "worker")) == own(ran)


async def test_activities_of_a_class_are_inside_of_its_execute(orch: Orchestrator, traced: Traced) -> None:
    greeting = orch.create_workflow(works.Greeting)
    run = await greeting.execute("ann")
    await greeting.signal(run, "finish")
    assert await greeting.get_result(run, timeout=30) == ["hello ann"]
    greeted = traced.one("workflow.activity", "worker")
    assert above(greeted) == own(traced.one("workflow.execute", "caller"))
    assert dict(greeted.attributes or {}) == {
        "workflow.name": "Greeting",
        "workflow.activity": "greet",
        "workflow.attempt": 1,
    }


async def test_each_call_is_a_span_and_one_that_raises_a_failed_one(orch: Orchestrator, traced: Traced) -> None:
    greeting = orch.create_workflow(works.Greeting, name="greetings")
    run, other, third = [await greeting.execute("ann") for _ in range(3)]
    await greeting.update(run, "add", "bob")
    await greeting.query(run, "names")
    await greeting.signal(run, "finish")
    await greeting.get_result(run, timeout=30)
    await greeting.cancel(other)
    await greeting.terminate(third)
    with pytest.raises(NotFound):
        await greeting.query("nobody", "names")
    told = traced.all_by("caller")
    assert Counter(span.name for span in told) == {
        "workflow.execute": 3,
        "workflow.update": 1,
        "workflow.query": 2,
        "workflow.signal": 1,
        "workflow.get_result": 1,
        "workflow.cancel": 1,
        "workflow.terminate": 1,
    }
    assert all(dict(span.attributes or {}) == {"workflow.name": "greetings"} for span in told)
    assert [span.name for span in told if span.status.status_code is StatusCode.ERROR] == ["workflow.query"]
