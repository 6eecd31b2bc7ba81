"""A span of the engine's own: what it is about, while it is open, and nothing that costs more than that.

OpenTelemetry's SDK makes and encodes a span in some hundred microseconds, about what the engine takes for the step that
the span is of. The engine says little of its spans: strings and numbers, links, and why something failed. That is kept
here. As soon as anybody says more (a handler that adds an event, sets an attribute, or raises), the SDK's own span
takes its place, with its ids and times.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context, trace

from ...ports.spans import Facts, Of, Trace
from .above import above
from .agreeing import agreed
from .finished import Finished
from .kinds import KINDS

if TYPE_CHECKING:
    from .sending import Waiting

_NOWHERE = context.Context()
_RANDOM = 0x02
(_CURRENT,) = trace.set_span_in_context(trace.INVALID_SPAN, _NOWHERE)
"""By which key a context knows its span."""
_becoming = threading.Lock()


class Record(trace.Span):
    """See the module. `takes` is given it when it is over; `tracer` makes the span that takes its place."""

    _failure: str | None = None
    _over = False
    _context: trace.SpanContext | None = None
    _full: trace.Span | None = None

    def __init__(  # noqa: PLR0913, PLR0917 - it is made in one place, and for each execution
        self, tracer: trace.Tracer, takes: "Waiting", parent: str, own_id: str, name: str, of: Of, attributes: Facts
    ) -> None:
        self._tracer = tracer
        self._takes = takes
        self._parent = parent
        self._id = own_id
        self._named = name
        self._of = of
        self._facts = attributes
        self._began = time_ns()

    def __getattr__(self, name: str) -> Any:
        """What only the SDK's spans have is asked of one."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._become(), name)

    @property
    def told(self) -> Trace:
        """It as the parent of what other processes do."""
        return Trace(f"00-{self._parent[3:35]}-{self._id}-01")

    def fail(self, message: str) -> None:
        """What it is about has failed."""
        if self._full is None:
            self._failure = message
        else:
            self._full.set_status(trace.StatusCode.ERROR, message)

    def tell(self, attributes: Facts) -> None:
        """What is known of it only now."""
        if self._full is None:
            self._facts = {**self._facts, **attributes}
        else:
            self._full.set_attributes(attributes)

    def get_span_context(self) -> trace.SpanContext:
        if self._context is None:
            parent = above(self._parent)
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED | parent.flags & _RANDOM)
            ids = int(parent.trace, 16), int(self._id, 16)
            self._context = trace.SpanContext(*ids, is_remote=False, trace_flags=flags)
        return self._context

    def is_recording(self) -> bool:
        return not self._over

    def end(self, end_time: int | None = None) -> None:
        if self._over:
            return
        self._over = True
        if self._full is not None:
            self._full.end(end_time)
            return
        ended = time_ns() if end_time is None else end_time
        self._takes.take(
            Finished(self._named, self._of, self._parent, self._id, self._began, ended, self._facts, self._failure)
        )

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._become().set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._become().set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._become().add_event(name, attributes, timestamp)

    def add_link(self, context: trace.SpanContext, attributes: Any = None) -> None:
        self._become().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._become().update_name(name)

    def set_status(self, status: trace.Status | trace.StatusCode, description: str | None = None) -> None:
        self._become().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - as OpenTelemetry has it
    ) -> None:
        self._become().record_exception(exception, attributes, timestamp, escaped)

    def _become(self) -> trace.Span:
        """The SDK's span of the same ids, which knows the same. Threads of one handler get the same one."""
        with _becoming:
            if self._full is not None:
                return self._full
            within = trace.set_span_in_context(trace.NonRecordingSpan(above(self._parent).context), _NOWHERE)
            links = [trace.Link(above(link).context) for link in self._of.links]
            facts = {**self._of.alike, **self._facts}
            with agreed(self._id):
                full = self._tracer.start_span(
                    self._named, within, KINDS[self._of.kind], facts, links, start_time=self._began
                )
            if self._failure is not None:
                full.set_status(trace.StatusCode.ERROR, self._failure)
            if self._over:
                # Too late: what is said of it now is lost, as of any span that has ended.
                return full
            self._full = full
            return full


class _Elsewhere:
    """Wherever OpenTelemetry has been told to keep what is current."""

    get = staticmethod(context.get_current)
    set = staticmethod(context.attach)
    reset = staticmethod(context.detach)


_kept: ContextVar[context.Context] | _Elsewhere = getattr(
    context._RUNTIME_CONTEXT,  # noqa: SLF001 - it has no other way (test: test_quick_spans)
    "_current_context",
    _Elsewhere(),
)
"""Where OpenTelemetry keeps what is current: its `attach` is six calls, and this comes with each execution."""


def _leave(token: Any) -> None:
    try:
        _kept.reset(token)
    except ValueError:
        context.detach(token)  # it is another task's: that is told as ever, and no more


class Beneath:
    """A span as the parent of what is opened while this is entered."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = _kept.set(context.Context({**_kept.get(), _CURRENT: self._span}))

    def __exit__(self, *_: object) -> None:
        _leave(self._token)


class Opened:
    """A record for as long as it is entered; with `parental` the parent of all that is opened meanwhile."""

    __slots__ = ("_parental", "_record", "_token")

    def __init__(self, record: Record, *, parental: bool) -> None:
        self._record = record
        self._parental = parental

    def __enter__(self) -> Self:
        if self._parental:
            self._token = _kept.set(context.Context({**_kept.get(), _CURRENT: self._record}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._parental:
            _leave(self._token)
            if isinstance(error, Exception):
                self._record.record_exception(error)
                self._record.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}")
        self._record.end()

    def fail(self, message: str) -> None:
        self._record.fail(message)

    def tell(self, attributes: Facts) -> None:
        self._record.tell(attributes)

    def inside(self) -> AbstractContextManager[Any]:
        return trace.use_span(self._record, record_exception=False, set_status_on_exception=False)

    @property
    def trace(self) -> Trace | None:
        return self._record.told
