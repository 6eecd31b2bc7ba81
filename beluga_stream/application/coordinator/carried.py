"""What the records of a run carry of its trace, worked out once for all of them."""

import msgspec

from ...domain.ids import RunId
from ...domain.state import RunState
from ...ports.log import Headers
from ...ports.spans import NO_SPANS, Spans, Trace
from .. import tracing

_MOST = 8_192


class Carried(msgspec.Struct, frozen=True, gc=False):
    """`trace` is the parent of what the run causes. `linked`: somebody tells spans, and joins name their sources."""

    trace: Trace | None = None
    headers: Headers = ()
    linked: bool = False
    of: tuple[str | None, tuple[str, ...]] = (None, ())
    """What it follows from: the trace in which the run was started, and its retries."""


NO_TRACE = Carried()


class Carrying:
    """Of the runs that `spans` are told of."""

    def __init__(self, spans: Spans = NO_SPANS) -> None:
        self._spans = spans
        # No cache of functools': what it does at each hit touches a dozen places in memory, which a run in a
        # thousand has long lost from the processor's caches.
        self._known: dict[RunId, Carried] = {}

    def of(self, state: RunState) -> Carried:
        """That of this run, as long as nobody takes it up again."""
        if state.trace is None:
            return NO_TRACE
        of = state.trace, state.retries_seen
        known = self._known.pop(state.run, None) if state.ended else self._known.get(state.run)
        if known is not None and known.of == of:
            return known
        trace = tracing.within(self._spans, state)
        carried = Carried(trace, tracing.headers_of(trace), self._spans.on, of)
        if not state.ended:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[state.run] = carried
        return carried
