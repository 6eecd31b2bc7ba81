"""Spans in OpenTelemetry."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace

from ...ports.spans import Span


class OtelSpans:
    """The port `Spans`. Without a tracer, that of the global provider, which does nothing unless one is set."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("beluga_stream")

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int], *, parental: bool = True) -> Iterator[Span]:
        if parental:
            with self._tracer.start_as_current_span(name, attributes=dict(attributes)) as span:
                yield _OtelSpan(span)
            return
        span = self._tracer.start_span(name, attributes=dict(attributes))
        try:
            yield _OtelSpan(span)
        finally:
            span.end()

    def trace_id(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def fail(self, message: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, message)

    @contextmanager
    def inside(self) -> Iterator[None]:
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield
