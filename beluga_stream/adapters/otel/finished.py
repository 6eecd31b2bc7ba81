"""A span that is over, as little as its export needs."""

from types import SimpleNamespace
from typing import ClassVar

import msgspec

from ...ports.spans import Facts, Of


class Finished(msgspec.Struct, frozen=True, gc=False):
    """Ids in hexadecimal digits, times in epoch nanoseconds. `parent` is empty for a root.

    Everything that waits for its export is asked for its `context`, of which only the flag matters: it is recorded.
    """

    name: str
    of: Of
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: Facts
    failure: str | None

    context: ClassVar = SimpleNamespace(trace_flags=SimpleNamespace(sampled=True))
