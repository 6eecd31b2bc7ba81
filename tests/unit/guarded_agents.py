"""Guarded handlers that other processes import by name."""

import os
import tempfile
from pathlib import Path

from beluga_stream import Bulkhead, CircuitBreaker, SharedCircuits

_FILE = Path(tempfile.gettempdir()) / f"beluga-test-circuits-{os.getuid()}.db"


@CircuitBreaker("squares", store=SharedCircuits(_FILE))
def square_anywhere(number: int) -> int:
    return number * number


@Bulkhead(2)
def limited_square(number: int) -> int:
    return number * number
