"""Spans that are encoded by hand say what the library's encoder says of the same spans."""

import string

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from beluga_stream.adapters.otel.finished import Finished
from beluga_stream.adapters.otel.kinds import KINDS
from beluga_stream.adapters.otel.protobuf import Encoding, encoded
from beluga_stream.ports.spans import Of

_RESOURCE = Resource({"service.name": "beluga-worker", "process.pid": 7}, "https://opentelemetry.io/schemas/1.0.0")
_SCOPE = "beluga_stream"
_PARENT = f"00-{'1' * 32}-{'3' * 16}-01"
_ENCODING = Encoding(_RESOURCE, _SCOPE)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
traces = st.integers(1, (1 << 128) - 1).map(trace.format_trace_id)
ids = st.integers(1, (1 << 64) - 1).map(trace.format_span_id)
parents = st.builds("00-{}-{}-01".format, traces, ids)
nanoseconds = st.integers(0, (1 << 64) - 1)
keys = texts.filter(bool)
values = texts | st.integers(-(1 << 63), (1 << 63) - 1)
owners = st.builds(
    Of,
    kind=st.sampled_from(list(KINDS)),
    links=st.lists(parents, max_size=4),
    alike=st.dictionaries(keys.map("alike {}".format), values, max_size=8),
)


@st.composite
def finished(draw: st.DrawFn) -> Finished:
    parent = draw(parents)
    return Finished(
        name=draw(texts),
        of=draw(owners),
        parent=parent,
        id=parent[36:52] if draw(st.booleans()) else draw(ids),
        began=draw(nanoseconds),
        ended=draw(nanoseconds),
        attributes=draw(st.dictionaries(keys, values, max_size=12)),
        failure=draw(st.none() | texts),
    )


def _context(told: str, span: str, *, is_remote: bool) -> trace.SpanContext:
    return trace.SpanContext(int(told, 16), int(span, 16), is_remote, trace.TraceFlags(1))


def _as_the_sdk_has_it(span: Finished) -> ReadableSpan:
    traced, parent = span.parent[3:35], span.parent[36:52]
    return ReadableSpan(
        span.name,
        context=_context(traced, span.id, is_remote=False),
        parent=_context(traced, parent, is_remote=True) if parent != span.id else None,
        resource=_RESOURCE,
        attributes={**span.of.alike, **span.attributes},
        links=[trace.Link(_context(link[3:35], link[36:52], is_remote=True)) for link in span.of.links],
        kind=KINDS[span.of.kind],
        status=trace.Status() if span.failure is None else trace.Status(trace.StatusCode.ERROR, span.failure),
        start_time=span.began,
        end_time=span.ended,
        instrumentation_scope=InstrumentationScope(_SCOPE),
    )


@given(st.lists(finished(), min_size=1, max_size=5))
def test_a_batch_is_what_the_library_makes_of_it(spans: list[Finished]) -> None:
    ours = ExportTraceServiceRequest.FromString(_ENCODING.request(map(encoded, spans)))
    assert ours == encode_spans([_as_the_sdk_has_it(span) for span in spans])


runs = st.text("0123456789abcdef", min_size=32, max_size=32) | texts | st.text(min_size=32, max_size=32)


@given(st.lists(finished(), min_size=2, max_size=6), runs, st.data())
def test_so_it_is_of_spans_that_differ_in_little(spans: list[Finished], run: str, data: st.DataObject) -> None:
    """The second of a kind is packed by what is known of the first."""
    first = spans[0]
    of = first.of._replace(links=data.draw(st.sampled_from([(), first.of.links])))
    failures = st.none() | texts
    alike = [
        replace(span, name=first.name, of=of, attributes={"beluga.run": run}, failure=data.draw(failures))
        for span in spans
    ]
    ours = ExportTraceServiceRequest.FromString(_ENCODING.request(map(encoded, alike)))
    assert ours == encode_spans([_as_the_sdk_has_it(span) for span in alike])


def test_what_is_no_character_costs_no_batch_and_what_is_no_link_is_left_out() -> None:
    span = Finished("\ud800", Of(links=["nothing"]), _PARENT, "2" * 16, 1, 2, {"key": "a\udfff"}, "\ud800")
    request = ExportTraceServiceRequest.FromString(_ENCODING.request([encoded(span)]))
    told = request.resource_spans[0].scope_spans[0].spans[0]
    assert (told.name, told.attributes[0].value.string_value, told.status.message) == ("?", "a?", "?")
    assert len(told.links) == 0


def test_of_many_different_values_only_so_many_are_remembered() -> None:
    for number in range(10_000):
        text = f"{number}-{string.ascii_letters}"
        span = Finished("n", Of(alike={"alike": text}), _PARENT, "2" * 16, 1, 2, {"key": text}, None)
        told = ExportTraceServiceRequest.FromString(_ENCODING.request([encoded(span)])).resource_spans[0].scope_spans[0]
        assert [attribute.value.string_value for attribute in told.spans[0].attributes] == [text, text]
