"""What is said to be above a span: a W3C traceparent, read once for all that is inside."""

import re
from collections.abc import Callable
from functools import cached_property, lru_cache

from opentelemetry import trace

_SAMPLED = trace.TraceFlags.SAMPLED
_AS_WRITTEN = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_BYTES = len(f"00-{_NO_TRACE}-{_NO_SPAN}-00")
_EVEN = frozenset("02468ace")
"""How the flags end of what is not sampled."""


class Above:
    """A span of another process: its ids in hexadecimal digits, its flags, and whether it is recorded."""

    def __init__(self, traced: str, span: str, flags: int) -> None:
        self.trace = traced
        self.id = span
        self.flags = flags
        self.is_valid = traced != _NO_TRACE and span != _NO_SPAN
        self.is_recorded = self.is_valid and bool(flags & _SAMPLED)

    @cached_property
    def context(self) -> trace.SpanContext:
        """It, as OpenTelemetry has it."""
        if not self.is_valid:
            return trace.INVALID_SPAN_CONTEXT
        flags = trace.TraceFlags(self.flags)
        return trace.SpanContext(int(self.trace, 16), int(self.id, 16), is_remote=True, trace_flags=flags)


class Unrecorded(trace.NonRecordingSpan):
    """What a traceparent says, as the parent of what goes on here. Reading it takes long, and few ask for it."""

    def __init__(self, told: str) -> None:
        # Without its parent's, which wants the context at once.
        self._told = told

    def get_span_context(self) -> trace.SpanContext:
        return above(self._told).context

    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"


def is_unrecorded(parent: str) -> bool:
    """Whether this is a traceparent that says so: told without reading it, which takes longer than all else.

    Of what is valid it is the truth; something else that looks like one may be taken for it.
    """
    return (
        parent[-1:] in _EVEN
        and len(parent) == _BYTES
        and not (parent.startswith(_NO_TRACE, 3) or parent.startswith(_NO_SPAN, 36))
    )


is_recorded: Callable[[str], object] = re.compile(
    r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]"
).fullmatch
"""Whether this is a valid traceparent that says so: not by `above`, which is quick only with what it remembers."""


_NOTHING = Above(_NO_TRACE, _NO_SPAN, 0)


@lru_cache(4096)
def above(parent: str) -> Above:
    """What a traceparent says; of what is none an invalid one. OpenTelemetry's propagator takes much longer."""
    if _AS_WRITTEN(parent) is None:
        return _NOTHING
    return Above(parent[3:35], parent[36:52], int(parent[53:55], 16))
