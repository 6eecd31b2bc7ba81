"""Spans that are encoded by hand say what the library's encoder says of the same spans."""

import string

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from beluga_stream.adapters.otel.finished import Finished
from beluga_stream.adapters.otel.kinds import KINDS
from beluga_stream.adapters.otel.protobuf import Encoding

_RESOURCE = Resource({"service.name": "beluga-worker", "process.pid": 7}, "https://opentelemetry.io/schemas/1.0.0")
_SCOPE = "beluga_stream"
_ENCODING = Encoding(_RESOURCE, _SCOPE)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
traces = st.integers(1, (1 << 128) - 1).map(trace.format_trace_id)
ids = st.integers(1, (1 << 64) - 1).map(trace.format_span_id)
links = st.builds("00-{}-{}-01".format, traces, ids)
nanoseconds = st.integers(0, (1 << 64) - 1)
finished = st.builds(
    Finished,
    name=texts,
    kind=st.sampled_from(list(KINDS)),
    trace=traces,
    id=ids,
    parent=st.just("") | ids,
    began=nanoseconds,
    ended=nanoseconds,
    attributes=st.dictionaries(texts.filter(bool), texts | st.integers(-(1 << 63), (1 << 63) - 1), max_size=12),
    links=st.lists(links, max_size=4),
    failure=st.none() | texts,
)


def _context(told: str, span: str, *, is_remote: bool) -> trace.SpanContext:
    return trace.SpanContext(int(told, 16), int(span, 16), is_remote, trace.TraceFlags(1))


def _as_the_sdk_has_it(span: Finished) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        context=_context(span.trace, span.id, is_remote=False),
        parent=_context(span.trace, span.parent, is_remote=True) if span.parent else None,
        resource=_RESOURCE,
        attributes=span.attributes,
        links=[trace.Link(_context(link[3:35], link[36:52], is_remote=True)) for link in span.links],
        kind=KINDS[span.kind],
        status=trace.Status() if span.failure is None else trace.Status(trace.StatusCode.ERROR, span.failure),
        start_time=span.began,
        end_time=span.ended,
        instrumentation_scope=InstrumentationScope(_SCOPE),
    )


@given(st.lists(finished, min_size=1, max_size=5))
def test_a_batch_is_what_the_library_makes_of_it(spans: list[Finished]) -> None:
    ours = ExportTraceServiceRequest.FromString(_ENCODING.request(spans))
    assert ours == encode_spans([_as_the_sdk_has_it(span) for span in spans])


def test_what_is_no_character_costs_no_batch_and_what_is_no_link_is_left_out() -> None:
    span = Finished("\ud800", "internal", "1" * 32, "2" * 16, "", 1, 2, {"key": "a\udfff"}, ["nothing"], "\ud800")
    told = ExportTraceServiceRequest.FromString(_ENCODING.request([span])).resource_spans[0].scope_spans[0].spans[0]
    assert (told.name, told.attributes[0].value.string_value, told.status.message) == ("?", "a?", "?")
    assert len(told.links) == 0


def test_of_many_different_values_only_so_many_are_remembered() -> None:
    for number in range(10_000):
        text = f"{number}-{string.ascii_letters}"
        span = Finished("n", "internal", "1" * 32, "2" * 16, "", 1, 2, {"key": text})
        told = ExportTraceServiceRequest.FromString(_ENCODING.request([span])).resource_spans[0].scope_spans[0]
        assert told.spans[0].attributes[0].value.string_value == text
