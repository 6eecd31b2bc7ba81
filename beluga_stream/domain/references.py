"""Which blobs a state or an event names."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import astuple

from .frozen import Frozen
from .payload import Inline, Stored
from .state import NodeStatus, RunStatus

_PLAIN = frozenset({str, int, float, bool, bytes, type(None), NodeStatus, RunStatus})
"""Most members are of these, or empty, and name nothing."""


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
            left += [member for member in astuple(found) if member and type(member) not in _PLAIN]
        elif isinstance(found, tuple | list):
            left += [member for member in found if member and type(member) not in _PLAIN]
        elif isinstance(found, dict | Mapping):  # a dict is told from others at a fraction of the price
            left += [member for member in found.values() if member and type(member) not in _PLAIN]
