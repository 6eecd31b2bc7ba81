"""What a durable run traces: its workflow, its subgraphs and every execution, in the trace that it was started in."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from temporalio.client import Client

from beluga_stream import Graph, Retry
from beluga_stream.adapters.otel.ids import AgreedIds
from beluga_stream.adapters.otel.spans import OtelSpans
from beluga_stream.errors import RunFailed
from beluga_stream.ports.spans import NO_SPANS, Spans
from tests.durable import TOPICS, bench

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_CALLER = "b7ad6b7169203331"
_TRACEPARENT = f"00-{_TRACE}-{_CALLER}-01"


async def increment(number: int) -> int:
    return number + 1


async def double(number: int) -> int:
    return number * 2


async def add(one: int, other: int) -> int:
    if one > 100:
        raise ValueError("too much")
    return one + other


inner = Graph[int, int]("traced-inner")
inner.set_finish_point(inner.add_node(double, inner.input))

traced = Graph[int, int]("traced", durable=True)
_begun = traced.add_node(increment, traced.input)
_both = traced.add_node(inner, _begun), traced.add_node(double, _begun)
traced.set_finish_point(traced.add_node(add, *_both, retry=Retry(1)))


@pytest.fixture
def spans() -> Iterator[tuple[Spans, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=AgreedIds(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield OtelSpans(provider.get_tracer("test")), exporter
    provider.shutdown()


def by_what(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Each span under its graph, or its graph and node. None is told twice."""
    told = {}
    for span in exporter.get_finished_spans():
        attributes = span.attributes or {}
        what = ".".join(str(attributes[name]) for name in ("beluga.graph", "beluga.node") if name in attributes)
        assert what not in told
        told[what] = span
    return told


async def test_a_durable_run_and_all_in_it_is_inside_of_what_started_it(
    temporal: Client, spans: tuple[Spans, InMemorySpanExporter]
) -> None:
    async with bench(temporal, [traced], spans=spans[0]) as field:
        run = await field.start(traced, 1, trace=_TRACEPARENT)
        assert await field.runs.result(run, timeout_seconds=60) == 8
    told = by_what(spans[1])
    above = {what: format(span.parent.span_id, "016x") for what, span in told.items() if span.parent is not None}
    own = {what: format(span.context.span_id, "016x") for what, span in told.items()}
    assert {format(span.context.trace_id, "032x") for span in told.values()} == {_TRACE}
    assert above == {
        "traced": _CALLER,
        "traced.increment": own["traced"],
        "traced.double": own["traced"],
        "traced.add": own["traced"],
        "traced-inner": own["traced"],
        "traced-inner.double": own["traced-inner"],
    }
    # What joins two has a link to the execution that it waited for. The other was a run, which has none.
    assert own["traced.double"] in {format(link.context.span_id, "016x") for link in told["traced.add"].links}
    assert {told[what].name for what in ("traced", "traced-inner")} == {"graph.invoke"}
    assert (told["traced"].attributes or {})["beluga.status"] == "succeeded"


async def test_a_durable_run_that_fails_is_a_failed_span(
    temporal: Client, spans: tuple[Spans, InMemorySpanExporter]
) -> None:
    async with bench(temporal, [traced], spans=spans[0]) as field:
        run = await field.start(traced, 100, trace=_TRACEPARENT)
        with pytest.raises(RunFailed):
            await field.runs.result(run, timeout_seconds=60)
    failed = by_what(spans[1])["traced"]
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "execution_failed"


async def test_where_nobody_tells_spans_records_keep_the_trace_of_who_started(temporal: Client) -> None:
    async with bench(temporal, [traced], spans=NO_SPANS) as field:
        run = await field.start(traced, 1, trace=_TRACEPARENT)
        assert await field.runs.result(run, timeout_seconds=60) == 8
        records = [
            record for number in range(TOPICS.partitions) for record in field.log.records(TOPICS.run_results, number)
        ]
    told = {header for record in records for header in record.headers}
    assert told == {("traceparent", _TRACEPARENT.encode())}
