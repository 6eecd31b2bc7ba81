"""An orchestrator: what it makes, what it refuses, how it counts, how it closes."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from beluga_stream import Defaults, Features, Graph, Orchestrator, Retry, Runnable, chain, node
from beluga_stream.api.features import Options
from beluga_stream.api.here import LocalProvider, LocalRunner
from beluga_stream.api.provider import Signals
from beluga_stream.api.work import Work
from beluga_stream.application.clients.results import RunChanged
from beluga_stream.errors import InvalidConfig, InvalidGraph, InvalidState, NotFound, RunFailed, TaskCanceled, TimedOut
from beluga_stream.ports.spans import NoSpans


def clean(text: str) -> str:
    return text.strip()


async def count(text: str) -> int:
    return len(text.split())


@node(retry=Retry(1))
async def fails(text: str) -> str:
    raise ConnectionError("gone")


@pytest.fixture
async def orch() -> AsyncIterator[Orchestrator]:
    async with Orchestrator() as made:
        yield made


async def test_a_chain_runs_its_steps(orch: Orchestrator) -> None:
    words = orch.create_chain(clean, count, name="words", description="counts words")
    assert (words.name, words.description) == ("words", "counts words")
    assert await words.invoke(" to be ") == 2
    assert await words.batch(["a", "a b"]) == [1, 2]
    assert isinstance(words, Runnable)


async def test_a_graph_runs_its_nodes(orch: Orchestrator) -> None:
    graph = orch.create_graph("words", str, int, description="counts words")
    graph.set_finish_point(graph.add_node(count, graph.add_node(clean, graph.input)))
    assert await graph.invoke(" to be ") == 2
    assert graph.description == "counts words"
    assert (graph.input_kind, graph.output_kind) == (str, int)


async def test_a_graph_without_types_takes_those_of_its_handlers(orch: Orchestrator) -> None:
    graph = orch.create_graph("words")
    graph.add_node("count", count)
    graph.set_entry_point("count").set_finish_point("count")
    assert await graph.invoke("to be") == 2
    assert graph.input_kind is str


async def test_the_types_of_a_graph_are_checked(orch: Orchestrator) -> None:
    graph = orch.create_graph("words", str, str)
    graph.add_node("count", count)
    graph.set_entry_point("count").set_finish_point("count")
    with pytest.raises(InvalidGraph):
        await graph.invoke("to be")


@pytest.mark.parametrize(
    ("feature", "ask"),
    [
        ("chains", lambda orch: orch.create_chain(clean)),
        ("graphs", lambda orch: orch.create_graph("g")),
        ("workflows", lambda orch: orch.create_workflow(clean)),
        ("scheduler", lambda orch: orch.scheduler),
        ("message_bus", lambda orch: orch.message_bus),
    ],
)
async def test_what_is_switched_off_is_refused_and_says_so(feature: str, ask: Callable[[Orchestrator], Any]) -> None:
    async with Orchestrator(features=Features(**{feature: False})) as orch:
        with pytest.raises(InvalidState, match=rf"{feature} .* switched off.*Features\({feature}=False\)") as refused:
            ask(orch)
    assert refused.value.code == "invalid_state"


async def test_defaults_are_those_of_the_field(orch: Orchestrator) -> None:
    chain, graph = orch.create_chain(clean).options, orch.create_graph("g").options
    assert (chain.timeout, chain.retries) == (timedelta(minutes=5), 3)
    assert (graph.timeout, graph.retries) == (timedelta(minutes=10), 3)
    assert (graph.max_workers, graph.queue_size, graph.parallel) == (5, 100, True)


async def test_what_is_given_wins_over_defaults_and_those_over_the_fields() -> None:
    async with Orchestrator(chains=Defaults(timeout=30, retries=1), graphs=Defaults(max_workers=10)) as orch:
        assert orch.create_chain(clean).options.timeout == 30
        assert orch.create_chain(clean, timeout=7).options.timeout == 7
        assert orch.create_chain(clean, retries=0).options.retries == 0
        assert orch.create_chain(clean).compile().definition.timeout_ms == 30_000
        assert orch.create_graph("g").options.max_workers == 10
        assert orch.create_graph("g", queue_size=0).options.queue_size == 0


async def test_whether_a_loop_over_a_graph_is_done_is_asked_as_often_as_its_steps_are_tried(orch: Orchestrator) -> None:
    graph = orch.create_graph("looping", str, str, retries=0)
    body = chain(clean, name="body")
    graph.set_finish_point(graph.add_loop(body, graph.input, until=lambda text: not text, max_passes=2))
    [loop] = graph.compile().definition.nodes
    assert loop.retry.attempts == 1


async def test_retries_are_the_steps_where_they_have_none_of_their_own(orch: Orchestrator) -> None:
    made = orch.create_chain(clean, fails, retries=7).compile().definition.nodes
    assert [one.retry.attempts for one in made] == [8, 1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"timeout": 0}, "timeout=0 is out of range"),
        ({"timeout": timedelta(hours=25)}, "at most 24 hours"),
        ({"timeout": float("nan")}, "out of range"),
        ({"timeout": "5"}, "no duration"),
        ({"retries": -1}, "retries=-1 is out of range: give 0 to 20"),
        ({"retries": 21}, "retries=21"),
        ({"retries": 1.5}, "no whole number"),
        ({"retries": True}, "no whole number"),
        ({"max_workers": 0}, "give 1 to 1,000"),
        ({"max_workers": 1_001}, "max_workers=1001"),
        ({"queue_size": -1}, "queue_size=-1"),
        ({"queue_size": 100_001}, "give 0 to 100,000"),
    ],
    ids=str,
)
async def test_what_is_out_of_range_is_refused(orch: Orchestrator, given: Any, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        Defaults(**given)
    with pytest.raises(InvalidConfig, match=told):
        orch.create_graph("g", **given)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda orch: orch.create_chain(clean, timeout=None), "None is no duration: give a number of seconds"),
        (lambda orch: orch.create_chain(clean, name=3), "the chain is named 3, which is no text"),
        (lambda orch: orch.create_workflow(3), "3 is no workflow: give a Graph"),
        (lambda orch: orch.create_workflow(Graph("d", durable=True), task_queue=3), "give 1 to 255 letters"),
        (lambda orch: Orchestrator(chains=3), r"chains=3: give Defaults\(...\)"),
        (lambda orch: Orchestrator(graphs=None), r"graphs=None: give Defaults\(...\)"),
        (lambda orch: Orchestrator(features={"chains": False}), r"features=.*: give Features\(...\)"),
        (lambda orch: Orchestrator(middleware=clean), r"middleware=.*: give a list of async functions"),
        (lambda orch: Orchestrator(middleware=[3]), r"middleware=\[3\]: give a list of async functions"),
        (lambda orch: orch.create_graph("g", parallel="no"), "parallel='no': give True or False"),
    ],
)
async def test_what_is_of_another_kind_is_refused_and_says_what_is_wanted(
    orch: Orchestrator, make: Callable[[Any], Any], told: str
) -> None:
    with pytest.raises(InvalidConfig, match=told):
        make(orch)


@pytest.mark.parametrize("many", ["3", 2.5, None, 0])
async def test_a_batch_asks_for_a_whole_number(orch: Orchestrator, many: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"give a whole number, at least 1"):
        await orch.create_chain(clean).batch(["a"], max_concurrency=many)


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": "3"}, {"concurrency": 0}, {"concurrency": True}, {"retry": None}, {"retry": 3}, {"group": 3}],
    ids=str,
)
async def test_a_subscription_asks_for_a_whole_number_and_a_retry(orch: Orchestrator, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match=r"give a whole number|is no Retry: give Retry\(3\)|give letters"):
        await orch.message_bus.subscribe("a.*", str, clean, **wrong)


async def test_the_ends_of_the_ranges_are_taken(orch: Orchestrator) -> None:
    orch.create_graph("g", timeout=timedelta(hours=24), retries=20, max_workers=1_000, queue_size=100_000)
    orch.create_graph("g", timeout=0.001, retries=0, max_workers=1, queue_size=0)


def test_chains_have_no_workers() -> None:
    with pytest.raises(InvalidConfig, match="chains have no workers"):
        Orchestrator(chains=Defaults(max_workers=2))


@pytest.mark.parametrize("prefix", ["", "1st", "été", "my shop", "a" * 201])
def test_a_prefix_that_no_metric_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidConfig, match="begin with a letter"):
        Orchestrator(metrics_prefix=prefix)


async def test_an_option_that_does_not_exist_is_refused(orch: Orchestrator) -> None:
    wrong: Any = orch.create_chain
    with pytest.raises(TypeError, match="memories= is no option of what this makes: is 'memory' meant"):
        wrong(clean, memories=object())
    with pytest.raises(TypeError, match="max_workers= is no option"):
        wrong(clean, max_workers=3)
    wrong = orch.create_graph
    with pytest.raises(TypeError, match="input_keys= is no option"):
        wrong("g", input_keys=("text",))


@pytest.mark.parametrize(
    "steps",
    [(), (count, count), ("no step",), (clean, 7)],
    ids=["none", "int into str", "a text", "a number"],
)
async def test_steps_that_cannot_be_joined_are_refused_at_once(orch: Orchestrator, steps: Any) -> None:
    with pytest.raises(InvalidGraph):
        orch.create_chain(*steps)


async def test_metrics_tell_of_what_goes_on_and_what_has_been(orch: Orchestrator) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def long(text: str) -> str:
        began.set()
        await go_on.wait()
        return text

    running = asyncio.create_task(orch.create_chain(long).invoke("a"))
    await began.wait()
    assert (orch.metrics().active_chains, orch.metrics().active_graphs) == (1, 0)
    go_on.set()
    await running
    with pytest.raises(RunFailed):
        await orch.create_chain(fails).invoke("a")
    graph = orch.create_graph("g")
    graph.set_finish_point(graph.add_node(count, graph.input))
    await graph.invoke("a")
    metrics = orch.metrics()
    assert (metrics.active_chains, metrics.active_graphs, metrics.active_workflows) == (0, 0, 0)
    assert (metrics.chains.executions, metrics.chains.errors) == (2, 1)
    assert (metrics.graphs.executions, metrics.graphs.errors) == (1, 0)
    assert (metrics.executions, metrics.errors) == (3, 1)
    assert 0 < metrics.chains.p50_seconds <= metrics.chains.p95_seconds
    assert metrics.graphs.mean_seconds > 0


async def test_streams_are_counted_too(orch: Orchestrator) -> None:
    async for _ in orch.create_chain(clean).stream(" a "):
        assert orch.metrics().active_chains == 1
    events = [event async for event in orch.create_chain(fails).stream("a")]
    assert isinstance(events[-1], RunChanged)
    assert events[-1].status == "failed"
    metrics = orch.metrics().chains
    assert (metrics.active, metrics.executions, metrics.errors) == (0, 2, 1)


async def test_instruments_have_their_names_under_the_prefix() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    async with Orchestrator(meter=provider.get_meter("test"), metrics_prefix="mine") as orch:
        await orch.create_chain(clean, name="words").invoke("a")
        with pytest.raises(RunFailed):
            await orch.create_chain(fails, name="sad").invoke("a")
        graph = orch.create_graph("g")
        graph.set_finish_point(graph.add_node(count, graph.input))
        await graph.invoke("a")
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    found = {one.name: one.data for r in data.resource_metrics for scope in r.scope_metrics for one in scope.metrics}
    names = {"executions_total", "errors_total", "graph_nodes", "active_chains", "active_graphs"}
    names |= {f"{kind}_{what}" for kind in ("chain", "graph") for what in ("executions_total", "duration_seconds")}
    assert found.keys() == {f"mine_{name}" for name in names | {"chain_errors_total"}}
    points = found["mine_chain_executions_total"].data_points
    assert sorted((p.attributes["chain_name"], p.attributes["success"], p.value) for p in points) == [
        ("sad", False, 1),
        ("words", True, 1),
    ]
    assert [p.value for p in found["mine_active_chains"].data_points] == [0, 0]


async def test_spans_have_their_names_and_are_nested() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with Orchestrator(tracer=provider.get_tracer("test")) as orch:
        await orch.create_chain(clean, count).invoke("a")
        graph = orch.create_graph("g")
        graph.set_finish_point(graph.add_node(fails, graph.input))
        with pytest.raises(RunFailed):
            await graph.invoke("a")
    spans = exporter.get_finished_spans()
    provider.shutdown()
    assert [span.name for span in spans] == [
        *("chain.step", "chain.step", "chain.invoke"),
        *("graph.node.execute", "graph.invoke"),
    ]
    for child, parent in ((0, 2), (1, 2), (3, 4)):
        above = spans[child].parent
        assert above is not None
        assert above.span_id == spans[parent].context.span_id
    assert [span.status.is_ok for span in spans] == [True, True, True, False, False]
    assert (spans[0].attributes or {})["node"] == "clean"


async def test_the_span_of_a_step_that_is_stopped_tells_of_no_success() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    began = asyncio.Event()

    async def stays(text: str) -> str:
        began.set()
        await asyncio.Event().wait()
        return text

    async with Orchestrator(tracer=provider.get_tracer("test")) as orch:
        running = asyncio.create_task(orch.create_chain(stays).invoke("a"))
        await began.wait()
        running.cancel()
        await asyncio.wait({running})
    step, whole = exporter.get_finished_spans()
    provider.shutdown()
    assert [(span.name, span.status.is_ok) for span in (step, whole)] == [
        ("chain.step", False),
        ("chain.invoke", False),
    ]
    assert (step.attributes or {})["error.type"] == "task_canceled"


async def test_a_stream_is_one_span_with_its_steps_and_none_of_its_readers() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    async with Orchestrator(tracer=tracer) as orch:
        async for _ in orch.create_chain(clean).stream("a"):
            with tracer.start_as_current_span("reader"):
                pass
        spans = {span.name: span for span in exporter.get_finished_spans()}
        exporter.clear()
        events = orch.create_chain(clean).stream("a")
        await anext(events)
        await events.aclose()
        left = exporter.get_finished_spans()[-1]
    provider.shutdown()
    assert spans["reader"].parent is None
    above = spans["chain.step"].parent
    assert above is not None
    assert above.span_id == spans["chain.invoke"].context.span_id
    assert (left.name, left.status.is_ok) == ("chain.invoke", False)


async def test_runs_are_logged_with_what_they_are(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test.orchestrator")
    provider = TracerProvider()
    async with Orchestrator(logger=logger, tracer=provider.get_tracer("test")) as orch:
        with caplog.at_level(logging.DEBUG, logger.name):
            await orch.create_chain(clean).invoke("a")
            with pytest.raises(RunFailed):
                await orch.create_chain(fails).invoke("a")
    provider.shutdown()
    ended, failed = caplog.records
    assert (ended.levelname, ended.action, ended.chain_name) == ("DEBUG", "chain.invoke", "clean")
    assert len(ended.trace) == 32
    assert failed.levelname == "INFO"
    assert "gone" in failed.getMessage()


async def test_closing_stops_what_goes_on_and_refuses_what_comes() -> None:
    began = asyncio.Event()
    stopped: list[str] = []

    async def long(text: str) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(text)
        return text

    orch = Orchestrator()
    chain = orch.create_chain(long)
    running = asyncio.create_task(chain.invoke("a"))
    await began.wait()
    await orch.aclose()
    with pytest.raises(TaskCanceled, match="its orchestrator is closed"):
        await running
    assert stopped == ["a"]
    assert orch.metrics().active_chains == 0
    with pytest.raises(InvalidState, match="closed"):
        await chain.invoke("a")
    with pytest.raises(InvalidState, match="closed"):
        orch.create_chain(clean)
    with pytest.raises(InvalidState, match="closed"):
        await orch.check()
    with pytest.raises(InvalidState, match="closed"):
        await chain.check()
    await orch.aclose()


async def test_time_that_is_up_ends_a_chain_though_its_step_goes_on() -> None:
    ran: list[str] = []

    async def stubborn(text: str) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return text

    async def after(text: str) -> str:
        ran.append(text)
        return text

    async with Orchestrator() as orch:
        with pytest.raises(TimedOut, match="did not end within"):
            await orch.create_chain(stubborn, after, timeout=0.01).invoke("a")
    assert ran == []


def test_graphs_run_in_one_event_loop_after_the_other() -> None:
    orch = Orchestrator()
    graph = orch.create_graph("g", str, str, max_workers=1)
    graph.set_finish_point(graph.add_node(clean, graph.input))

    async def main() -> list[str]:
        return await graph.batch(["a", "b", "c"])  # of which two wait for their worker

    assert [asyncio.run(main()) for _ in range(2)] == [["a", "b", "c"]] * 2
    asyncio.run(orch.aclose())


class LateRunner(LocalRunner):
    """An engine on which the run is deployed with less time than its caller has."""

    async def invoke(self, value: Any, /, *, signals: Signals) -> Any:
        raise RunFailed("run r failed: the run did not end within 3 s", reason="timeout", run="r")


class LateProvider(LocalProvider):
    def runner(self, work: Work[Any, Any], options: Options, /) -> LateRunner:
        return LateRunner(work, options, self._watched)


async def test_a_run_that_its_engine_ends_in_less_time_tells_of_that_time() -> None:
    async with Orchestrator(providers={"late": lambda: LateProvider(NoSpans())}) as orch:
        with pytest.raises(TimedOut, match=r"^run r failed: the run did not end within 3 s$") as late:
            await orch.create_chain(clean, name="c", provider="late", timeout=60).invoke("a")
        assert late.value.ids == {"graph": "c", "run": "r"}


class NotedProvider(LocalProvider):
    """The engine of this process, which notes that it is closed."""

    closed = 0

    async def aclose(self) -> None:
        await super().aclose()
        self.closed += 1


async def test_closing_while_a_step_whose_time_is_up_tidies_up_waits_for_it_and_closes_the_engines() -> None:
    late, tidied = asyncio.Event(), asyncio.Event()

    async def slow(text: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            late.set()
            await tidied.wait()
        return text

    engine = NotedProvider(NoSpans())
    orch = Orchestrator(providers={"local": lambda: engine})
    running = asyncio.create_task(orch.create_chain(slow, timeout=0.01, retries=0).invoke("a"))
    async with asyncio.timeout(10):
        await late.wait()
        closing = asyncio.create_task(orch.aclose())
        asyncio.get_running_loop().call_soon(tidied.set)
        await closing
        with pytest.raises(TaskCanceled):
            await running
    assert engine.closed == 1


async def test_engines_are_closed_though_closing_is_cancelled_before() -> None:
    began, tidied = asyncio.Event(), asyncio.Event()

    async def slow(text: str) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await tidied.wait()
        return text

    engine = NotedProvider(NoSpans())
    orch = Orchestrator(providers={"local": lambda: engine})
    running = asyncio.create_task(orch.create_chain(slow).invoke("a"))
    async with asyncio.timeout(10):
        await began.wait()
        closing = asyncio.create_task(orch.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert engine.closed == 1
        tidied.set()
        with pytest.raises(TaskCanceled):
            await running


@pytest.mark.parametrize("reader", ["waits for an event", "is busy with one"])
async def test_closing_ends_streams(reader: str) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def long(text: str) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return text

    orch = Orchestrator()
    events = orch.create_chain(long).stream("a")
    first = await anext(events)
    assert isinstance(first, RunChanged)
    if reader == "waits for an event":
        reading = asyncio.create_task(_rest(events))
        while not orch._running._bounds:  # noqa: ASYNC110 - until it waits for the next event
            await asyncio.sleep(0)
        await orch.aclose()
        with pytest.raises(TaskCanceled):
            await reading
    else:
        await anext(events)
        async with asyncio.timeout(5):
            await began.wait()
            await orch.aclose()
        assert stopped.is_set()
        with pytest.raises(TaskCanceled):
            await anext(events)
    async with asyncio.timeout(10):
        await stopped.wait()
    await events.aclose()


async def test_closing_waits_for_no_step_that_ignores_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("beluga_stream.api.running._CLOSE_SECONDS", 0.01)
    began, go_on = asyncio.Event(), asyncio.Event()

    async def stubborn(text: str) -> str:
        began.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        return text

    orch = Orchestrator()
    events = orch.create_chain(stubborn).stream("a")
    async with asyncio.timeout(10):
        for _ in range(2):
            await anext(events)
        await began.wait()
        await orch.aclose()
        assert "1 runs go on though their orchestrator is closed" in caplog.text
        go_on.set()
        with pytest.raises(TaskCanceled):
            await anext(events)
    await events.aclose()


async def _rest(events: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in events]


async def test_a_check_that_is_well_says_nothing_and_leaves_nothing(orch: Orchestrator) -> None:
    chain, bus, before = orch.create_chain(clean), orch.message_bus, asyncio.all_tasks()
    await orch.check()
    await bus.check()
    await chain.check()
    assert asyncio.all_tasks() == before


async def test_a_check_of_a_graph_tells_what_is_wrong_with_it(orch: Orchestrator) -> None:
    graph = orch.create_graph("unfinished")
    graph.add_node(count, graph.input)
    with pytest.raises(InvalidGraph, match="no finish"):
        await graph.check()


async def test_an_unknown_provider_is_refused_with_those_there_are(orch: Orchestrator) -> None:
    with pytest.raises(NotFound, match="no provider 'argo': there are dbos, kafka, local, temporal"):
        orch.create_chain(clean, provider="argo")


@pytest.mark.parametrize("provider", ["kafka", "temporal", "dbos"])
async def test_options_that_an_engine_would_ignore_are_refused_and_as_defaults_do_not_apply(provider: str) -> None:
    async with Orchestrator(graphs=Defaults(max_workers=2, queue_size=3)) as orch:
        for given, named in (
            ({"max_workers": 2}, "max_workers"),
            ({"queue_size": 0}, "queue_size"),
            ({"parallel": False}, "parallel"),
            ({"max_workers": 2, "queue_size": 3}, "max_workers, queue_size"),
        ):
            with pytest.raises(InvalidConfig, match=f"provider '{provider}' does not keep {named}: leave that out"):
                orch.create_graph("g", provider=provider, **given)  # type: ignore[call-overload]  # of a mapping
            orch.create_graph("g", provider="local", **given)  # type: ignore[call-overload]  # of a mapping
        orch.create_graph("g", provider=provider, parallel=True, timeout=5, retries=1)


async def test_what_it_makes_can_be_deployed_and_faked_like_any_other(orch: Orchestrator) -> None:
    chain = orch.create_chain(clean, count, name="words", retries=1)
    program, triggers = chain.deploy()
    assert (program.definition.name, list(triggers)) == ("words", [])
    assert [one.retry.attempts for one in program.definition.nodes] == [2, 2]
    assert await chain.invoke("to be", fakes={count: len}) == 5
    statuses = [event.status async for event in chain.stream("a", fakes={count: len}) if isinstance(event, RunChanged)]
    assert statuses[-1] == "succeeded"
    assert orch.metrics().executions == 0


async def test_a_graph_may_grow_between_its_runs(orch: Orchestrator) -> None:
    graph = orch.create_graph("growing")
    graph.add_node("clean", clean)
    graph.set_entry_point("clean").set_finish_point("clean")
    assert await graph.invoke(" a ") == "a"
    graph.add_node("count", count)
    graph.add_edge("clean", "count").set_finish_point("count")
    assert await graph.invoke(" a b ") == {"clean": "a b", "count": 2}


async def test_a_step_with_a_timeout_that_ignores_its_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("beluga_stream.application.execution.execution._STOP_SECONDS", 0.01)
    go_on, ended = asyncio.Event(), asyncio.Event()

    @node(timeout=60)
    async def stubborn(text: str) -> str:
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        ended.set()
        return text

    async with Orchestrator() as orch:
        with pytest.raises(TimedOut):
            await orch.create_chain(stubborn, timeout=0.02).invoke("a")
        assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["handler_lost"]
        go_on.set()
        async with asyncio.timeout(10):
            await ended.wait()
