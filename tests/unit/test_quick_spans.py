"""The engine's own spans leave a process as the SDK would tell them, and by the SDK where more is asked."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from beluga_stream.adapters.otel import record
from beluga_stream.adapters.otel.exporting import SCOPE, Exports
from beluga_stream.adapters.otel.record import Record
from beluga_stream.adapters.otel.spans import OtelSpans
from beluga_stream.ports.spans import Ended, Of
from tests.otlp import ReceivedSpan, Receiver, receiving

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_RUN, _NODE, _OTHER = "b7ad6b7169203331", "00f067aa0ba902b7", "00f067aa0ba902b8"
_PARENT = f"00-{_TRACE}-{_RUN}-01"
_OF = Of(_PARENT, "consumer", id=_NODE)


class Process:
    """Providers that export to a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.exports = Exports("test", spans=OTLPSpanExporter(f"{receiver.endpoint}/v1/traces"))
        assert self.exports.tracers is not None
        self.tracers = self.exports.tracers
        self.tracer = self.tracers.get_tracer("handlers")
        self.spans = OtelSpans(self.tracers.get_tracer(SCOPE), self.tracers)

    def told(self) -> dict[str, ReceivedSpan]:
        """All spans that have ended, by their names."""
        self.exports.close()
        return {span.name: span for span in self._receiver.spans}


@contextmanager
def process() -> Iterator[Process]:
    with receiving() as receiver:
        found = Process(receiver)
        try:
            yield found
        finally:
            found.exports.close()


def here() -> trace.Span:
    return trace.get_current_span()


def test_a_node_and_its_run_are_told_with_all_that_is_known_of_them() -> None:
    with process() as of:
        of_node = Of(_PARENT, "consumer", (f"00-{_TRACE}-{_OTHER}-01",), _NODE)
        with of.spans.span("node", {"text": "t", "number": 1}, of=of_node) as span:
            assert isinstance(here(), Record)
            assert span.trace == f"00-{_TRACE}-{_NODE}-01"
            span.tell({"error.type": "execution_failed"})
            span.fail("it did not work")
        of.spans.ended(Ended("run", {"a": "b"}, Of(_PARENT, id=_RUN), 1_000, 2_000))
        of.spans.ended(Ended("inner", {}, Of(_PARENT, id=_OTHER), 1_000, 2_000, "no"))
        told = of.told()
    node, run, inner = told["node"], told["run"], told["inner"]
    assert (node.trace, node.id, node.parent, node.service) == (_TRACE, _NODE, _RUN, "test")
    assert node.attributes == {"text": "t", "number": 1, "error.type": "execution_failed"}
    assert (node.links, node.failed) == (((_TRACE, _OTHER),), True)
    assert node.began <= node.ended
    assert (run.id, run.parent, run.failed, run.began, run.ended) == (_RUN, "", False, 10**9, 2 * 10**9)
    assert (inner.id, inner.parent, inner.failed) == (_OTHER, _RUN, True)


def test_what_a_handler_traces_is_inside_of_its_node() -> None:
    with process() as of:
        with of.spans.span("node", {}, of=_OF), of.tracer.start_as_current_span("handler"):
            pass
        with of.spans.span("apart", {}, parental=False, of=Of(_PARENT, id=_OTHER)) as span:
            assert here() is trace.INVALID_SPAN
            with span.inside():
                of.tracer.start_span("inside").end()
        told = of.told()
    assert (told["handler"].trace, told["handler"].parent) == (_TRACE, _NODE)
    assert told["inside"].parent == _OTHER
    assert told["apart"].id == _OTHER


def test_what_a_handler_says_of_its_node_is_told_with_what_the_engine_says() -> None:
    with process() as of:
        with of.spans.span("node", {"engine": "before"}, of=_OF) as span:
            here().set_attribute("handler", [1, 2])
            here().set_attributes({"more": 1.5})
            here().add_event("it came to this", {"why": "because"})
            here().add_link(trace.SpanContext(5, 6, is_remote=True))
            here().update_name("renamed")
            assert here().is_recording()
            assert here().name == "renamed"  # type: ignore[attr-defined] - the SDK's spans have it
            span.tell({"engine.too": "after"})
            span.fail("no")
        assert not here().is_recording()
        told = of.told()["renamed"]
    assert (told.trace, told.id, told.parent, told.failed) == (_TRACE, _NODE, _RUN, True)
    assert {"engine", "handler", "more", "engine.too"} == set(told.attributes)
    assert told.links == (("0" * 31 + "5", "0" * 15 + "6"),)


def test_an_exception_marks_the_span_and_goes_on() -> None:
    with process() as of:
        with pytest.raises(LookupError), of.spans.span("node", {}, of=_OF):
            raise LookupError("gone")
        told = of.told()["node"]
    assert told.failed


def test_the_sdks_span_takes_a_spans_place_once_though_threads_say_more_of_it_at_once() -> None:
    with process() as of:
        with of.spans.span("node", {}, of=_OF):
            span = here()
            ready = threading.Barrier(8)

            def says(number: int) -> None:
                ready.wait(5)
                span.set_attribute(f"k{number}", number)

            threads = [threading.Thread(target=says, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(5)
        span.set_attribute("late", 1)
        span.end()
        told = of.told()
        assert len(of._receiver.spans) == 1
    assert set(told["node"].attributes) == {f"k{number}" for number in range(8)}


def test_whoever_adds_a_processor_gets_the_sdks_spans() -> None:
    with process() as of:
        exporter = InMemorySpanExporter()
        of.tracers.add_span_processor(SimpleSpanProcessor(exporter))
        with of.spans.span("node", {}, of=_OF):
            assert not isinstance(here(), Record)
        of.spans.ended(Ended("run", {}, Of(_PARENT, id=_RUN), 1, 2))
        assert [span.name for span in exporter.get_finished_spans()] == ["node", "run"]
        assert set(of.told()) == {"node", "run"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "2"),
        ("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
    ],
)
def test_what_only_the_sdk_does_is_left_to_it(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with process() as of:
        with of.spans.span("node", {"k": "vwxyz"}, of=_OF):
            assert not isinstance(here(), Record)
        told = of.told()["node"]
    assert told.attributes == {"k": "vwx" if "LENGTH" in variable else "vwxyz"}


@pytest.mark.parametrize("sampler", ["always_on", "parentbased_always_on", "parentbased_traceidratio"])
def test_what_is_recorded_already_no_sampler_is_asked_of(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with process() as of:
        with of.spans.span("node", {}, of=_OF):
            assert isinstance(here(), Record)
        with of.spans.span("new", {}, of=Of(_PARENT)) as span:
            assert span.trace is not None
            assert span.trace[36:52] not in {_RUN, "0" * 16}
        assert set(of.told()) == {"node", "new"}


def test_a_trace_that_is_not_recorded_is_not_told() -> None:
    with process() as of:
        left_out = f"00-{_TRACE}-{_RUN}-00"
        with of.spans.span("node", {}, of=Of(left_out, id=_NODE)) as span:
            assert span.trace == f"00-{_TRACE}-{_NODE}-00"
        of.spans.ended(Ended("run", {}, Of(left_out, id=_RUN), 1, 2))
        assert of.told() == {}


def test_spans_that_do_not_fit_or_do_not_arrive_are_counted_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    exporter = OTLPSpanExporter("http://127.0.0.1:1/v1/traces", timeout=0.1)
    began, go_on = threading.Event(), threading.Event()

    class Client:
        def export(self, _: bytes) -> object:
            began.set()
            go_on.wait(30)
            raise OSError("nobody is there")

        def shutdown(self) -> None:
            """Nothing."""

    exporter._client = Client()  # type: ignore[assignment]
    exports = Exports("test", spans=exporter)
    assert exports.tracers is not None
    spans = OtelSpans(exports.tracers.get_tracer(SCOPE), exports.tracers)

    def some(numbers: Sequence[int]) -> None:
        for _ in numbers:
            with spans.span("node", {}, of=Of(_PARENT)):
                pass

    some(range(8))
    assert began.wait(10)
    some(range(13))
    assert exports.lost_spans() == {"queue": 5, "export": 0}
    go_on.set()
    exports.close()
    assert exports.lost_spans() == {"queue": 5, "export": 16}
    assert [record.action for record in caplog.records if hasattr(record, "action")] == [
        "telemetry.full",
        "telemetry.away",
    ]


def test_spans_leave_by_the_sdks_own_way_where_its_queue_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with process() as of:
        assert of.tracers.quick is not None
        assert of.tracers.quick._queue is not None, "else all spans take the longer way"
        monkeypatch.setattr(of.tracers.quick, "_queue", None)
        with of.spans.span("node", {}, of=_OF):
            pass
        assert set(of.told()) == {"node"}


@pytest.mark.parametrize("kept_elsewhere", [False, True])
def test_what_is_current_is_so_for_opentelemetry_too(monkeypatch: pytest.MonkeyPatch, kept_elsewhere: bool) -> None:  # noqa: FBT001 - a parameter
    """The engine sets it by a shorter way than OpenTelemetry's, if that keeps it where it is thought to."""
    assert isinstance(record._kept, ContextVar)
    if kept_elsewhere:
        monkeypatch.setattr(record, "_kept", record._Elsewhere())
    unrecorded = f"00-{_TRACE}-{_RUN}-00"
    spans = OtelSpans()
    token = context.attach(context.set_value("more", 1))
    with spans.beneath(unrecorded):
        assert here().get_span_context().span_id == int(_RUN, 16)
        assert not here().is_recording()
        assert context.get_value("more") == 1
        with trace.use_span(trace.INVALID_SPAN):
            assert not here().get_span_context().is_valid
        assert here().get_span_context().span_id == int(_RUN, 16)
    assert not here().get_span_context().is_valid
    context.detach(token)
    assert context.get_value("more") is None
