"""Frozen values that are their own wire form: made, compared, copied and turned into JSON in compiled code.

A dataclass that is frozen sets its fields one by one through `object.__setattr__`; an event passes through a
dozen such values, and that alone was a seventh of what it cost (docs/decisions/0008-records.md).
"""

from typing import dataclass_transform

from msgspec import Struct, field
from msgspec.structs import replace

__all__ = ["Frozen", "field", "replace"]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Frozen(Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of what travels or is kept. A member that has its default is left out of the JSON.

    They are trees, so that the collector of cycles need not look at them.
    """
