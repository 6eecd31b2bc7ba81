"""A trace that is not recorded costs next to nothing, and stays one trace; whether it is recorded, the sampler says."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from beluga_stream.adapters.otel.exporting import Process
from beluga_stream.adapters.otel.ids import AgreedIds
from beluga_stream.adapters.otel.spans import OtelSpans
from beluga_stream.ports.spans import Ended, Of

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_NODE = "00f067aa0ba902b7"
_LEFT_OUT = f"00-{_TRACE}-b7ad6b7169203331-00"


class Telling:
    """A tracer with this sampler, and what it has exported."""

    def __init__(self, sampler: Sampler) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, id_generator=AgreedIds(), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.spans = OtelSpans(self.tracer)

    def tell(self, parent: str) -> str | None:
        """A node's span with one of its handler's inside, and its run's; what it is as a parent."""
        with self.spans.span("node", {"n": 1}, of=Of(parent, id=_NODE)) as span:
            self.tracer.start_span("handler").end()
            span.tell({"more": 2})
            span.fail("it did not work")
            told = span.trace
        self.spans.ended(Ended("run", {}, Of(parent, id="1" * 16), 1, 2))
        return told

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]


@pytest.mark.parametrize("parental", [True, False])
def test_what_is_inside_of_a_trace_that_is_not_recorded_is_not_recorded(parental: bool) -> None:  # noqa: FBT001 - a parameter
    telling = Telling(ParentBased(ALWAYS_ON))
    with telling.spans.span("node", {}, parental=parental, of=Of(_LEFT_OUT, id=_NODE)) as span:
        found = trace.get_current_span().get_span_context().span_id
        assert (found == int(_NODE, 16)) is parental
        with span.inside():
            assert trace.get_current_span().get_span_context().span_id == int(_NODE, 16)
    assert telling.tell(_LEFT_OUT) == f"00-{_TRACE}-{_NODE}-00"
    assert telling.names == []


def test_a_trace_that_is_recorded_is_recorded_with_the_ids_agreed_on() -> None:
    telling = Telling(ParentBased(ALWAYS_ON))
    assert telling.tell(_LEFT_OUT[:-1] + "1") == f"00-{_TRACE}-{_NODE}-01"
    assert telling.names == ["handler", "node", "run"]


def test_a_sampler_that_does_not_keep_to_parents_is_asked() -> None:
    for sampler in (ALWAYS_ON, ParentBased(ALWAYS_ON, remote_parent_not_sampled=ALWAYS_ON)):
        telling = Telling(sampler)
        telling.tell(_LEFT_OUT)
        assert "node" in telling.names


@pytest.mark.parametrize("sampler", [ParentBased(ALWAYS_ON), ALWAYS_OFF], ids=["as its parent", "never"])
def test_beneath_a_trace_that_is_not_recorded_nothing_is(sampler: Sampler) -> None:
    telling = Telling(sampler)
    assert not telling.spans.records(_LEFT_OUT)
    with telling.spans.beneath(_LEFT_OUT):
        here = trace.get_current_span().get_span_context()
        assert trace.format_trace_id(here.trace_id) == _TRACE
        telling.tracer.start_span("handler").end()
    assert not trace.get_current_span().get_span_context().is_valid
    assert telling.names == []
    assert telling.spans.samples(_TRACE) is (sampler is not ALWAYS_OFF)


def test_a_trace_that_is_recorded_and_one_that_a_sampler_may_record_are_to_be_told() -> None:
    assert Telling(ParentBased(ALWAYS_ON)).spans.records(_LEFT_OUT[:-1] + "1")
    assert Telling(ALWAYS_ON).spans.records(_LEFT_OUT)


def test_an_error_passes_a_span_that_is_not_recorded() -> None:
    with pytest.raises(LookupError), Telling(ParentBased(ALWAYS_ON)).spans.span("n", {}, of=Of(_LEFT_OUT, id=_NODE)):
        raise LookupError


def test_a_process_is_the_resource_that_it_was_made_of() -> None:
    plain = Resource.create({"service.name": "beluga-worker"})
    process = Process(plain)
    assert process == plain
    assert hash(process) == hash(plain)
    assert process.attributes["service.name"] == "beluga-worker"
