"""Spans: what took how long inside of what, told to a tracer."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Span(Protocol):
    """One that is open."""

    def fail(self, message: str) -> None:
        """What it is about has failed."""

    def inside(self) -> AbstractContextManager[None]:
        """Makes it the parent of what is opened meanwhile."""


class Spans(Protocol):
    """Opens spans. What is raised inside one marks it as failed, and goes on."""

    def span(
        self, name: str, attributes: Mapping[str, str | int], *, parental: bool = True
    ) -> AbstractContextManager[Span]:
        """A span for as long as it is entered. Spans opened meanwhile are its children, or only those `inside` it."""

    def trace_id(self) -> str | None:
        """The trace that is going on, as its 32 hexadecimal digits."""


class _NoSpan:
    _nothing: AbstractContextManager[None] = nullcontext()

    def fail(self, message: str) -> None:
        """Nothing."""

    def inside(self) -> AbstractContextManager[None]:
        """Nothing."""
        return self._nothing


class NoSpans:
    """Opens none."""

    _nothing: AbstractContextManager[Span] = nullcontext(_NoSpan())

    def span(
        self, name: str, attributes: Mapping[str, str | int], *, parental: bool = True
    ) -> AbstractContextManager[Span]:
        """Nothing."""
        return self._nothing

    def trace_id(self) -> str | None:
        """None."""
        return None
