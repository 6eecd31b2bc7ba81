"""Spans: what took how long inside of what, told to a tracer."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, NewType, Protocol

Trace = NewType("Trace", str)
"""A W3C `traceparent`: the trace, the span that is the parent of what follows, and whether it is recorded."""


def trace_id(trace: Trace) -> str:
    """The trace's id, as 32 hexadecimal digits."""
    return trace[3:35]


SpanKind = Literal["internal", "server", "producer", "consumer"]

Facts = Mapping[str, str | int]
"""What a span says of what it is about."""

NO_FACTS: Facts = {}
"""Not to be changed. A plain one, since what is told of a workflow's spans goes through its history."""


class Of(NamedTuple):
    """Where a span belongs. `parent`: another process's span; None: what goes on here.

    `links` are the traces of what came together in it. `id` is the span's own, in 16 hexadecimal digits, where others
    refer to it; None: a new one. `alike` is what many spans say besides their own attributes: one object for all of
    them, which never changes, so that it is read once.
    """

    parent: str | None = None
    kind: SpanKind = "internal"
    links: Sequence[str] = ()
    id: str | None = None
    alike: Facts = NO_FACTS


HERE = Of()


class Ended(NamedTuple):
    """A span that is told of when it is over. Times in epoch milliseconds; `failure` is why it failed."""

    name: str
    attributes: Facts
    of: Of
    began_ms: int
    ended_ms: int
    failure: str | None = None


class Span(Protocol):
    """One that is open."""

    def fail(self, message: str) -> None:
        """What it is about has failed."""

    def tell(self, attributes: Facts) -> None:
        """What is known of it only now."""

    def inside(self) -> AbstractContextManager[None]:
        """Makes it the parent of what is opened meanwhile."""

    @property
    def trace(self) -> Trace | None:
        """It as the parent of what other processes do; None when nothing is traced."""


class Spans(Protocol):
    """Opens spans. What is raised inside one marks it as failed, and goes on."""

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""

    def span(
        self, name: str, attributes: Facts, *, parental: bool = True, of: Of = HERE
    ) -> AbstractContextManager[Span]:
        """A span for as long as it is entered. Spans opened meanwhile are its children, or only those `inside` it."""

    def records(self, parent: str) -> bool:
        """Whether a span inside this one would be recorded. If not, `beneath` is all that there is to do."""

    def beneath(self, parent: str) -> AbstractContextManager[None]:
        """Makes another process's span the parent of what is opened meanwhile."""

    def ended(self, span: Ended) -> None:
        """A span that is over. One whose `of.id` is its parent's is the root of its trace."""

    def samples(self, trace_id: str) -> bool | None:
        """Whether a new trace of this id (32 hexadecimal digits) is recorded; None when nothing is traced."""

    def here(self) -> Trace | None:
        """What goes on here, as the parent of what other processes do; None when nothing is traced."""


class _NoSpan:
    _nothing: AbstractContextManager[None] = nullcontext()
    trace: Trace | None = None

    def fail(self, message: str) -> None:
        """Nothing."""

    def tell(self, attributes: Facts) -> None:
        """Nothing."""

    def inside(self) -> AbstractContextManager[None]:
        """Nothing."""
        return self._nothing


class NoSpans:
    """Opens none."""

    on = False
    _nothing: AbstractContextManager[Span] = nullcontext(_NoSpan())
    _nowhere: AbstractContextManager[None] = nullcontext()

    def span(
        self, name: str, attributes: Facts, *, parental: bool = True, of: Of = HERE
    ) -> AbstractContextManager[Span]:
        """Nothing."""
        return self._nothing

    def records(self, parent: str) -> bool:
        """No."""
        return False

    def beneath(self, parent: str) -> AbstractContextManager[None]:
        """Nothing."""
        return self._nowhere

    def ended(self, span: Ended) -> None:
        """Nothing."""

    def samples(self, trace_id: str) -> bool | None:
        """None."""
        return None

    def here(self) -> Trace | None:
        """None."""
        return None


NO_SPANS = NoSpans()


class _ToldElsewhere(NoSpans):
    on = True

    def records(self, parent: str) -> bool:
        """Yes, for all that is known here: whoever tells them knows better."""
        return True


TOLD_ELSEWHERE = _ToldElsewhere()
"""For who decides what others tell: it opens none, and there will be those that are agreed on."""
