"""A span that is over: as little as is said of it, and then its bytes."""

from types import SimpleNamespace
from typing import ClassVar

import msgspec

from ...ports.spans import Facts, Of


class Finished(msgspec.Struct, frozen=True, gc=False):
    """`parent` is a traceparent, whose span is this one for a root; `id` has hexadecimal digits; epoch nanoseconds."""

    name: str
    of: Of
    parent: str
    id: str
    began: int
    ended: int
    attributes: Facts
    failure: str | None


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """It as OTLP's bytes, waiting for its export.

    Everything that waits is asked for its `context`, of which only the flag matters: it is recorded.
    """

    told: bytes

    context: ClassVar = SimpleNamespace(trace_flags=SimpleNamespace(sampled=True))
