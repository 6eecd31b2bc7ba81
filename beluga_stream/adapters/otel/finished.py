"""A span that is over, as little as its export needs."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import ClassVar

import msgspec

from ...ports.spans import SpanKind


class Finished(msgspec.Struct, frozen=True, gc=False):
    """Ids in hexadecimal digits, times in epoch nanoseconds. `parent` is empty for a root, `links` are traceparents.

    Everything that waits for its export is asked for its `context`, of which only the flag matters: it is recorded.
    """

    name: str
    kind: SpanKind
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: Mapping[str, str | int]
    links: Sequence[str] = ()
    failure: str | None = None

    context: ClassVar = SimpleNamespace(trace_flags=SimpleNamespace(sampled=True))
