"""Spans in OpenTelemetry."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from ...ports.spans import HERE, Ended, Of, Span, SpanKind, Trace
from .agreeing import agreed

_KINDS: Mapping[SpanKind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
_NOWHERE = Context()
_NANOSECONDS = 1_000_000


_KEEPS_TO_PARENTS = "remoteParentNotSampled:AlwaysOffSampler"
"""So a sampler describes itself that records nothing of a trace which is not recorded."""


class OtelSpans:
    """The port `Spans`. Without a tracer, that of the global provider, which does nothing unless one is set.

    Of a trace that is not recorded the SDK is asked nothing, if its sampler keeps to that anyway: where one trace in a
    hundred is recorded, nearly all are such.
    """

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("beluga_stream")
        sampler = self._sampler
        self._keeps_to_parents = sampler is not None and _KEEPS_TO_PARENTS in sampler.get_description()

    @property
    def on(self) -> bool:
        return self._sampler is not None

    @property
    def _sampler(self) -> Any:
        """The SDK's tracers have one. A client without an SDK has no use for its import, which takes a while."""
        return getattr(self._tracer, "sampler", None)

    @contextmanager
    def span(
        self, name: str, attributes: Mapping[str, str | int], *, parental: bool = True, of: Of = HERE
    ) -> Iterator[Span]:
        above = None if of.parent is None else _span_of(of.parent)
        if above is not None and of.id is not None and self._is_left_out(above):
            unrecorded = trace.NonRecordingSpan(
                trace.SpanContext(above.trace_id, int(of.id, 16), is_remote=False, trace_flags=above.trace_flags)
            )
            with trace.use_span(unrecorded) if parental else nullcontext():
                yield _OtelSpan(unrecorded)
            return
        context = None if above is None else _context(above)
        links = [trace.Link(_span_of(link)) for link in of.links] if of.links else ()
        with agreed(of.id):
            span = self._tracer.start_span(name, context, _KINDS[of.kind], attributes, links)
        if parental:
            with trace.use_span(span, end_on_exit=True):
                yield _OtelSpan(span)
            return
        try:
            yield _OtelSpan(span)
        finally:
            span.end()

    def ended(self, span: Ended) -> None:
        of = span.of
        above = None if of.parent is None else _span_of(of.parent)
        is_root = above is not None and of.id is not None and above.span_id == int(of.id, 16)
        if above is None or (is_root and not above.trace_flags.sampled) or self._is_left_out(above):
            return
        with agreed(of.id, trace.format_trace_id(above.trace_id) if is_root else None):
            opened = self._tracer.start_span(
                span.name,
                Context() if is_root else _context(above),
                _KINDS[of.kind],
                span.attributes,
                start_time=span.began_ms * _NANOSECONDS,
            )
        if span.failure is not None:
            opened.set_status(trace.StatusCode.ERROR, span.failure)
        opened.end(span.ended_ms * _NANOSECONDS)

    def _is_left_out(self, above: trace.SpanContext) -> bool:
        return self._keeps_to_parents and above.is_valid and not above.trace_flags.sampled

    def samples(self, trace_id: str) -> bool | None:
        sampler = self._sampler
        if sampler is None:
            return None
        return bool(sampler.should_sample(Context(), int(trace_id, 16), "run").decision.is_sampled())

    def trace_id(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def trace(self) -> Trace | None:
        context = self._span.get_span_context()
        if not context.is_valid:
            return None
        flags = "01" if context.trace_flags.sampled else "00"
        return Trace(f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-{flags}")

    def fail(self, message: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, message)

    def tell(self, attributes: Mapping[str, str | int]) -> None:
        self._span.set_attributes(attributes)

    @contextmanager
    def inside(self) -> Iterator[None]:
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield


def _context(above: trace.SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(above), _NOWHERE)


def _span_of(parent: str) -> trace.SpanContext:
    """What a traceparent says; of what is none an invalid one. OpenTelemetry's propagator takes three times as long."""
    try:
        found, above, flags = int(parent[3:35], 16), int(parent[36:52], 16), int(parent[53:55], 16)
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT
    return trace.SpanContext(found, above, is_remote=True, trace_flags=trace.TraceFlags(flags))
