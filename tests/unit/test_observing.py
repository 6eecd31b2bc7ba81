"""What the roles count and trace, stepped by hand: each once, and "active" goes down again."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from beluga_stream.adapters.otel.catalog import METRICS
from beluga_stream.application import codec, tracing
from beluga_stream.application.messages import NodeReady
from beluga_stream.domain.events import LeaseExpired, NodeStarted, RetryRequested, RunRequested
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId, run_id
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Record
from beluga_stream.ports.spans import NO_SPANS
from beluga_stream.ports.telemetry import Lag
from tests.unit.coordinating import NAMES, OWNED, Bench, done, execution, failure, requested
from tests.unit.engines import RUN, TOPICS, WorkerBench, handler, program
from tests.unit.graphs import edges, node, plan
from tests.unit.measured import Measured, measured
from tests.unit.test_gatherer import Bench as TriggerBench

CALLER = f"00-{'1' * 32}-{'2' * 16}-01"


class Observed(Bench):
    """A coordinator's bench, whose coordinators are measured."""

    def __init__(self, of: Measured) -> None:
        self.telemetry, self.spans = of.telemetry, of.spans
        super().__init__()
        self.plan = plan([node("a"), node("b"), node("c")], edges("input > a > c") + edges("input > b > c"), ["c"])
        self.coordinator = self.another()

    def work(self) -> list[NodeReady]:
        return [codec.node_ready.decode(record.value) for record in self.written(NAMES.node_ready("default"))]


@pytest.fixture
def of() -> Iterator[Measured]:
    with measured() as found:
        yield found


@pytest.fixture
async def bench(of: Measured) -> Observed:
    bench = Observed(of)
    await bench.coordinator.acquire(OWNED)
    return bench


def traced(run: str = "r", told: str | None = CALLER) -> RunRequested:
    request = requested(run)
    return RunRequested(**{name: getattr(request, name) for name in request.__struct_fields__} | {"trace": told})


async def ran(bench: Observed, *names: str, run: str = "r") -> None:
    for name in names:
        await bench.tell(NAMES.node_done, done(run, name))


async def test_the_span_of_a_run_is_told_once_though_its_end_comes_twice(bench: Observed, of: Measured) -> None:
    await bench.tell(NAMES.run_requests, traced())
    await ran(bench, "a", "b", "c")
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    for record in bench.written(NAMES.node_done):
        await bench.handle(record)
    (span,) = of.ended()
    assert span.name == "graph.invoke"
    assert span.parent is not None
    assert trace.format_span_id(span.parent.span_id) == "2" * 16
    assert trace.format_span_id(span.context.span_id) == tracing.run_span(RunId("r"))
    assert span.status.is_ok


async def test_an_end_that_is_not_durable_is_told_by_nobody_and_by_the_next_owner_once(
    bench: Observed, of: Measured
) -> None:
    await bench.tell(NAMES.run_requests, traced())
    await ran(bench, "a", "b")

    async def breaks(changes: object) -> None:
        raise LogUnavailable("the changelog is gone")

    bench.coordinator.owned[0].table.commit = breaks  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable):
        await ran(bench, "c")
    assert of.ended() == ()
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    await bench.handle(bench.written(NAMES.node_done)[-1])
    assert [span.name for span in of.ended()] == ["graph.invoke"]


async def test_nodes_are_inside_the_runs_span_and_joins_are_linked(bench: Observed) -> None:
    await bench.tell(NAMES.run_requests, traced())
    await ran(bench, "a", "b")
    works = {work.name: work for work in bench.work()}
    inside = tracing.inside(CALLER, tracing.run_span(RunId("r")))
    assert {work.trace for work in works.values()} == {inside}
    assert works[NodeKey("a")].links == ()  # type: ignore[index]
    spans = [tracing.node_span(RunId("r"), NodeKey(name), 1, Incarnation("i")) for name in "ab"]
    assert works[NodeKey("c")].links == tuple(tracing.inside(CALLER, span) for span in spans)  # type: ignore[index]


def test_an_execution_is_known_by_what_its_worker_draws() -> None:
    """Each node and attempt has its own id, also where executions had one incarnation; whatever that looks like."""
    ids = {
        tracing.node_span(RunId("r"), NodeKey(name), attempt, Incarnation(incarnation))
        for name in "ab"
        for attempt in (1, 2)
        for incarnation in ("0" * 12, "a1b2c3d4e5f6", "A1B2C3D4E5F6", "d3")
    }
    assert len(ids) == 16
    assert all(len(found) == 16 and set(found) <= set("0123456789abcdef") and int(found, 16) for found in ids)


async def test_a_run_without_a_trace_gets_one_whose_root_it_is(bench: Observed, of: Measured) -> None:
    await bench.tell(NAMES.run_requests, traced(told=None))
    await ran(bench, "a", "b", "c")
    (span,) = of.ended()
    assert span.parent is None
    assert {(work.trace or "")[3:35] for work in bench.work()} == {trace.format_trace_id(span.context.trace_id)}


@pytest.mark.parametrize("told", ["", "00-no-trace-at-all", "x" * 300])
async def test_what_is_no_trace_is_none(bench: Observed, of: Measured, told: str) -> None:
    await bench.tell(NAMES.run_requests, traced(told=told))
    await ran(bench, "a", "b", "c")
    (span,) = of.ended()
    assert span.parent is None


async def test_a_run_that_is_taken_up_again_has_another_span_for_that(bench: Observed, of: Measured) -> None:
    await bench.tell(NAMES.run_requests, traced())
    await ran(bench, "b")
    await bench.tell(NAMES.node_done, failure("r", "a"))
    await bench.tell(NAMES.run_events, RetryRequested(run=RunId("r"), key="r", at_ms=3, id="again"))
    await bench.tell(
        NAMES.node_done, type(done("r", "a"))(**execution("r", "a") | {"attempt": 2}, output=done("r", "a").output)
    )
    await ran(bench, "c")
    failed, succeeded = of.ended()
    assert (failed.status.is_ok, succeeded.status.is_ok) == (False, True)
    assert (failed.attributes or {})["error.type"] == "execution_failed"
    assert failed.context.span_id != succeeded.context.span_id


async def test_what_is_not_sampled_is_traced_by_nobody() -> None:
    with measured(ALWAYS_OFF) as of:
        bench = Observed(of)
        await bench.coordinator.acquire(OWNED)
        await bench.tell(NAMES.run_requests, traced(told=None))
        await ran(bench, "a", "b", "c")
        assert of.ended() == ()
        assert {(work.trace or "")[-3:] for work in bench.work()} == {"-00"}, "and workers must not decide again"


@pytest.mark.parametrize("run", [run_id("test", "api", "1"), RunId("r"), RunId("0" * 16 + "1" * 16)])
async def test_a_run_without_a_trace_gets_one_by_its_own_id(bench: Observed, of: Measured, run: RunId) -> None:
    """If the id is one that the engine made; whoever else made it, the trace has valid ids."""
    await bench.tell(NAMES.run_requests, traced(run, told=None))
    await ran(bench, "a", "b", "c", run=run)
    (root,) = of.ended()
    assert root.parent is None
    assert root.context.is_valid
    assert (trace.format_trace_id(root.context.trace_id) == run) is (run == run_id("test", "api", "1"))
    inside = f"-{trace.format_trace_id(root.context.trace_id)}-{trace.format_span_id(root.context.span_id)}-"
    assert all(inside in (work.trace or "") for work in bench.work())


async def test_without_a_tracer_records_carry_what_they_came_with() -> None:
    bench = Bench()
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, traced())
    (ready,) = bench.written(NAMES.node_ready("default"))
    work = codec.node_ready.decode(ready.value)
    assert (work.trace, work.links, ready.headers) == (CALLER, (), ())
    assert {dict(told.headers)["traceparent"].decode() for told in bench.written(NAMES.run_results)} == {CALLER}
    assert tracing.new_trace(NO_SPANS, RunId("r")) is None


async def test_active_runs_go_down_when_they_end_and_when_their_partition_goes(bench: Observed, of: Measured) -> None:
    await bench.tell(NAMES.run_requests, requested("r"))
    await bench.tell(NAMES.run_requests, requested("s"))
    assert of.values("active_graphs") == {("test",): 2}
    await ran(bench, "a", "b", "c")
    assert of.values("active_graphs") == {("test",): 1}
    assert of.values("graph_executions_total") == {("test", True): 1}
    assert of.values("executions_total") == {(True,): 1}
    assert of.values("graph_duration_seconds") == {("test", True): 1}
    assert of.values("graph_nodes") == {("test",): 2}
    await bench.coordinator.release(OWNED)
    assert of.values("active_graphs") == {("test",): 0}


async def test_lost_leases_and_refused_records_are_counted(bench: Observed, of: Measured) -> None:
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, NodeStarted(**execution("r", "a"), worker="w"))
    expired = LeaseExpired(**execution("r", "a"))
    await bench.tell(NAMES.run_events, expired)
    await bench.tell(NAMES.run_events, expired)
    assert of.values("lease_expiries_total") == {("test",): 1}, "the second is no news"
    await bench.tell(NAMES.node_done, done("unknown", "a"))
    assert of.values("dead_letters_total") == {("coordinator", "not_found"): 1}


def worker_of(of: Measured, call: Any) -> WorkerBench:
    bench = WorkerBench(program(plan([node("a")], edges("input > a"), ["a"]), {"a": handler(call)}))
    bench.worker._telemetry = bench.worker._attempts._telemetry = of.telemetry
    bench.worker._attempts._spans = of.spans
    return bench


async def test_a_node_is_timed_from_its_dispatch_and_in_flight_while_it_runs(of: Measured) -> None:
    began, open_ = asyncio.Event(), asyncio.Event()

    async def waits(value: int) -> int:
        began.set()
        await open_.wait()
        return value

    bench = worker_of(of, waits)
    settled = await bench.worker.handle([bench.work(at_ms=bench.clock.now - 1_500)])
    assert settled is not None
    await began.wait()
    assert of.values("nodes_in_flight") == {(): 1}
    open_.set()
    await settled
    await bench.worker.close()
    assert of.values("nodes_in_flight") == {(): 0}
    assert of.values("node_duration_seconds") == {("test", "a", True): 1}
    (point,) = of.metrics()["queue_wait_seconds"].data.data_points
    assert point.sum == 1.5  # type: ignore[union-attr]


async def test_a_node_that_is_stopped_is_in_flight_no_more(of: Measured) -> None:
    began = asyncio.Event()

    async def stays(value: int) -> int:
        began.set()
        await asyncio.Event().wait()
        return value

    bench = worker_of(of, stays)
    await bench.worker.handle([bench.work()])
    await began.wait()
    for each in tuple(bench.worker._running.values()):
        assert each.task is not None
        each.task.cancel()
        await asyncio.wait({each.task})
    await bench.worker.close()
    assert of.values("nodes_in_flight") == {(): 0}


async def test_the_span_of_a_node_that_is_stopped_tells_of_no_success(of: Measured) -> None:
    began = asyncio.Event()

    async def stays(value: int) -> int:
        began.set()
        await asyncio.Event().wait()
        return value

    bench = worker_of(of, stays)
    await bench.worker.handle([bench.work(trace=CALLER)])
    await began.wait()
    (running,) = bench.worker._running.values()
    assert running.task is not None
    running.task.cancel()
    await asyncio.wait({running.task})
    await bench.worker.close()
    (span,) = of.ended()
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "task_canceled"


async def test_the_span_of_an_execution_has_its_ids_and_is_the_parent_of_its_handlers(of: Measured) -> None:
    async def tells(value: int) -> int:
        with of.spans.span("inner", {}):
            raise ValueError("no")

    bench = worker_of(of, tells)
    settled = await bench.worker.handle([bench.work(trace=CALLER, links=(CALLER,))])
    assert settled is not None
    await settled
    inner, outer = of.ended()
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    told = dict(outer.attributes or {})
    assert (outer.name, outer.kind, outer.status.is_ok) == ("graph.node.execute", trace.SpanKind.CONSUMER, False)
    assert (told["beluga.run"], told["beluga.node"], told["beluga.attempt"]) == (RUN, "a", 1)
    assert told["messaging.destination.name"] == TOPICS.node_ready("default")
    assert told["error.type"] == "execution_failed"
    assert len(outer.links) == 1
    incarnation = bench.done()[-1].incarnation
    assert trace.format_span_id(outer.context.span_id) == tracing.node_span(RUN, NodeKey("a"), 1, incarnation)


async def test_work_that_nobody_traces_has_no_span(of: Measured) -> None:
    async def same(value: int) -> int:
        return value

    bench = worker_of(of, same)
    settled = await bench.worker.handle([bench.work()])
    assert settled is not None
    await settled
    assert of.ended() == ()


async def test_triggers_are_counted_by_what_came_of_them(of: Measured) -> None:
    bench = TriggerBench()
    bench.ingest._telemetry = bench.gatherer._telemetry = bench.gatherer._gathered._telemetry = of.telemetry
    await bench.gatherer.acquire(OWNED)
    await bench.publish("a", "whole")
    await bench.publish("b", "whole")
    await bench.publish("b", "part")
    await bench.ingested()
    await bench.gathered()
    bench.clock.now += 2 * 60_000
    await bench.look()
    await bench.gathered()
    assert of.values("triggers_total") == {("pairs", "a+b", "started"): 1, ("pairs", "a+b", "missing"): 1}
    assert of.values("dead_letters_total") == {("gatherer", "timeout"): 1}
    await bench.ingest.handle([Record("a", 0, 9, None, b"no json")])
    assert of.values("triggers_total")["pairs", "a+b", "refused"] == 1
    assert sum(of.values("dead_letters_total").values()) == 2


async def test_an_event_that_its_window_does_not_take_counts_as_late(of: Measured) -> None:
    bench = TriggerBench()
    bench.gatherer._gathered._telemetry = of.telemetry
    await bench.gatherer.acquire(OWNED)
    for number in range(3):
        await bench.publish("a" if number < 2 else "b", n=number)
    await bench.publish("a", n=7)
    await bench.ingested()
    await bench.gathered()
    assert of.values("triggers_total")["pairs", "a+b", "started"] == 1
    assert of.values("triggers_total")["pairs", "a+b", "late"] >= 1


def test_every_metric_of_the_catalog_is_told_with_its_unit_and_attributes(of: Measured) -> None:
    told = of.telemetry
    for kind in ("graph", "chain", "workflow"):
        told.run_started(kind, "g", 3)
        told.run_ended(kind, "g", success=False, seconds=1)
        told.runs_owned(kind, "g", 1)
    told.stuck("worker", 1)
    told.node_began("g", -0.5)
    told.node_ended("g", "n", success=True, seconds=1)
    told.node_left()
    told.lease_expired("g")
    told.recovered("worker", 0.1)
    told.dead_letter("ingest", "invalid_input")
    told.triggered("g", "t", "started")
    told.watch_lag(lambda: [Lag("group", "topic", 0, 5)])
    told.watch_lag(lambda: [Lag("other", "topic", 1, 6)])
    told.watch_lost_spans(lambda: {"queue": 3, "export": 0})
    found = of.metrics()
    assert set(found) == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert (found[metric.name].unit, found[metric.name].description) == (metric.unit, metric.meaning)
        for point in found[metric.name].data.data_points:
            assert set(point.attributes or {}) == set(metric.attributes)
            assert getattr(point, "explicit_bounds", metric.buckets) == metric.buckets
    assert of.values("consumer_lag_records") == {("group", "topic", 0): 5, ("other", "topic", 1): 6}
    assert of.metrics()["queue_wait_seconds"].data.data_points[0].sum == 0  # type: ignore[union-attr]
