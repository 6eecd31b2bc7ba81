"""A span that is over, as little as its export needs."""

from types import SimpleNamespace
from typing import ClassVar

import msgspec

from ...ports.spans import Facts, Of


class Finished(msgspec.Struct, frozen=True, gc=False):
    """`parent` is a traceparent, whose span is this one for a root; `id` has hexadecimal digits; epoch nanoseconds.

    Everything that waits for its export is asked for its `context`, of which only the flag matters: it is recorded.
    """

    name: str
    of: Of
    parent: str
    id: str
    began: int
    ended: int
    attributes: Facts
    failure: str | None

    context: ClassVar = SimpleNamespace(trace_flags=SimpleNamespace(sampled=True))
