"""Which blobs a state or an event names."""

from collections.abc import Iterator, Mapping
from typing import Any

from .frozen import Frozen
from .payload import Inline, Stored


def references(value: Any) -> Iterator[Stored]:
    """Every stored value in it; one that has parts may name others in turn.

    Every member is looked at, whatever it is called: a payload that somebody adds is found too.
    """
    left = [value]
    while left:
        found = left.pop()
        if isinstance(found, Stored):
            yield found
        elif isinstance(found, Inline):
            continue  # a user's value, and no payload, whatever it looks like
        elif isinstance(found, Frozen):
            left.extend(getattr(found, name) for name in found.__struct_fields__)
        elif isinstance(found, Mapping):
            left.extend(found.values())
        elif isinstance(found, tuple | list):
            left.extend(found)
