"""Spans in OpenTelemetry."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from ...ports.spans import HERE, Ended, Facts, Of, Span, Trace
from .above import Above, Unrecorded, above, is_recorded, is_unrecorded
from .agreeing import agreed
from .finished import Finished
from .kinds import KINDS
from .record import Beneath, Opened, Record

if TYPE_CHECKING:
    from .sending import Waiting

_NOWHERE = Context()
_NANOSECONDS = 1_000_000

_NOT_RECORDED_STAYS_SO = "remoteParentNotSampled:AlwaysOffSampler"
_RECORDED_STAYS_SO = "remoteParentSampled:AlwaysOnSampler"
_RECORDS_ALL = "AlwaysOnSampler"
_RECORDS_NOTHING = "AlwaysOffSampler"
_RECORDS_ROOTS = f"ParentBased{{root:{_RECORDS_ALL},"
"""So a sampler describes itself that keeps to what is said of a trace already, and ones that have no need to."""


class Quick(Protocol):
    """A provider of tracers that may take the engine's spans otherwise than by a tracer."""

    quick: "Waiting | None"


class OtelSpans:
    """The port `Spans`. Without a tracer, that of the global provider, which does nothing unless one is set.

    Of a trace that is not recorded the SDK is asked nothing, if its sampler keeps to that anyway: where one trace in a
    hundred is recorded, nearly all are such. Nor is it of one that is recorded, if `quick` takes what comes of it.
    """

    def __init__(self, tracer: trace.Tracer | None = None, quick: Quick | None = None) -> None:
        self._tracer = tracer or trace.get_tracer("beluga_stream")
        sampler = self._sampler
        told = "" if sampler is None else sampler.get_description()
        self.on = sampler is not None
        self._records_nothing = told == _RECORDS_NOTHING
        self._keeps_to_parents = _NOT_RECORDED_STAYS_SO in told
        self._keeps_recorded = _RECORDED_STAYS_SO in told or told == _RECORDS_ALL
        self._records_roots = told == _RECORDS_ALL or told.startswith(_RECORDS_ROOTS)
        self._quick = quick
        self._ids: Any = getattr(self._tracer, "id_generator", None)

    @property
    def _sampler(self) -> Any:
        """The SDK's tracers have one. A client without an SDK has no use for its import, which takes a while."""
        return getattr(self._tracer, "sampler", None)

    def span(
        self, name: str, attributes: Facts, *, parental: bool = True, of: Of = HERE
    ) -> AbstractContextManager[Span]:
        if of.parent is None:
            return self._made(name, attributes, parental, of, None)
        takes = None if self._quick is None else self._quick.quick
        if takes is not None and self._keeps_recorded and is_recorded(of.parent):
            own_id = of.id or trace.format_span_id(self._ids.generate_span_id())
            return Opened(Record(self._tracer, takes, of.parent, own_id, name, of, attributes), parental=parental)
        parent = above(of.parent)
        if of.id is not None and self._is_left_out(parent):
            return _unrecorded(parent.context, of.id, parental=parental)
        return self._made(name, attributes, parental, of, parent.context)

    @contextmanager
    def _made(
        self,
        name: str,
        attributes: Facts,
        parental: bool,  # noqa: FBT001 - as given to `span`
        of: Of,
        parent: trace.SpanContext | None,
    ) -> Iterator[Span]:
        context = None if parent is None else _context(parent)
        links = [trace.Link(above(link).context) for link in of.links] if of.links else ()
        with agreed(of.id):
            span = self._tracer.start_span(name, context, KINDS[of.kind], {**of.alike, **attributes}, links)
        if parental:
            with trace.use_span(span, end_on_exit=True):
                yield _OtelSpan(span)
            return
        try:
            yield _OtelSpan(span)
        finally:
            span.end()

    def records(self, parent: str) -> bool:
        return self.on and not self._records_nothing and not (self._keeps_to_parents and is_unrecorded(parent))

    def beneath(self, parent: str) -> AbstractContextManager[None]:
        return Beneath(Unrecorded(parent))

    def ended(self, span: Ended) -> None:
        of = span.of
        if of.parent is None:
            return
        takes = None if self._quick is None else self._quick.quick
        if takes is not None and of.id is not None and self._keeps_recorded and is_recorded(of.parent):
            began, over = span.began_ms * _NANOSECONDS, span.ended_ms * _NANOSECONDS
            takes.take(Finished(span.name, of, of.parent, of.id, began, over, span.attributes, span.failure))
            return
        parent = above(of.parent)
        is_root = of.id is not None and parent.id == of.id
        if (is_root and not parent.is_recorded) or self._is_left_out(parent):
            return
        with agreed(of.id, parent.trace if is_root else None):
            opened = self._tracer.start_span(
                span.name,
                Context() if is_root else _context(parent.context),
                KINDS[of.kind],
                {**span.of.alike, **span.attributes},
                start_time=span.began_ms * _NANOSECONDS,
            )
        if span.failure is not None:
            opened.set_status(trace.StatusCode.ERROR, span.failure)
        opened.end(span.ended_ms * _NANOSECONDS)

    def _is_left_out(self, parent: Above) -> bool:
        return self._records_nothing or (self._keeps_to_parents and parent.is_valid and not parent.is_recorded)

    def samples(self, trace_id: str) -> bool | None:
        sampler = self._sampler
        if sampler is None:
            return None
        if self._records_roots or self._records_nothing:
            return self._records_roots
        return bool(sampler.should_sample(Context(), int(trace_id, 16), "run").decision.is_sampled())

    def here(self) -> Trace | None:
        return _told(trace.get_current_span())


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def trace(self) -> Trace | None:
        return _told(self._span)

    def fail(self, message: str) -> None:
        self._span.set_status(trace.StatusCode.ERROR, message)

    def tell(self, attributes: Facts) -> None:
        self._span.set_attributes(attributes)

    @contextmanager
    def inside(self) -> Iterator[None]:
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield


def _told(span: trace.Span) -> Trace | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    flags = "01" if context.trace_flags.sampled else "00"
    return Trace(f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-{flags}")


def _context(above: trace.SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(above), _NOWHERE)


@contextmanager
def _unrecorded(parent: trace.SpanContext, own_id: str, *, parental: bool) -> Iterator[Span]:
    span = trace.NonRecordingSpan(
        trace.SpanContext(parent.trace_id, int(own_id, 16), is_remote=False, trace_flags=parent.trace_flags)
    )
    with trace.use_span(span) if parental else nullcontext():
        yield _OtelSpan(span)
