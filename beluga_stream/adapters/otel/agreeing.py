"""The ids that the next span is to have, where processes must agree on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

given: ContextVar[tuple[int | None, int] | None] = ContextVar("beluga_ids", default=None)
"""The trace's id, for a root, and the span's."""


@contextmanager
def agreed(span: str | None, trace: str | None = None) -> Iterator[None]:
    """The span that is started inside has this id, and as a root that of the trace. Hexadecimal digits."""
    if span is None:
        yield
        return
    token = given.set((None if trace is None else int(trace, 16), int(span, 16)))
    try:
        yield
    finally:
        given.reset(token)
