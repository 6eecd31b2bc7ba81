"""Ids of executions: twelve random digits each, of the system's randomness, drawn many at a time.

Asking the system for each would take longer than anything else that a worker does before it calls a handler.
"""

import os

_BYTES, _AT_ONCE = 6, 256

_drawn: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # or parent and child would hand out the same


def new_incarnation() -> str:
    """One that nobody else has: hexadecimal digits."""
    try:
        return _drawn.pop()
    except IndexError:
        digits = os.urandom(_BYTES * _AT_ONCE).hex()
        size = 2 * _BYTES
        _drawn.extend(digits[at : at + size] for at in range(size, len(digits), size))
        return digits[:size]
