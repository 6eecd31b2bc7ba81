"""Gives the system back what a burst of work has left behind in a process.

Garbage is looked for seldom (`garbage.py`), and fewer objects than it takes to look may hold tens of megabytes. And
what is freed in the midst of the heap stays the process's, unless the C library is told to let it go.
"""

import asyncio
import ctypes
import gc
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .beside import beside

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
_WORTH = 16 << 20
"""Bytes by which a process has grown."""
_YOUNG = 1
"""What has been looked at twice stays: with it the search would take as long as there are runs."""

_RESIDENT = Path("/proc/self/statm")


@asynccontextmanager
async def given_back() -> AsyncIterator[None]:
    """For a process: whenever it has grown, as long as the block lasts. Does nothing where that cannot be told."""
    if not _is_told():
        yield
        return
    async with beside(_look_after(), "beluga-memory"):
        yield


def _is_told() -> bool:
    return _RESIDENT.exists()


async def _look_after() -> None:
    least = resident()
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        now = resident()
        if now - least < _WORTH:
            least = min(least, now)
            continue
        gc.collect(_YOUNG)
        await asyncio.to_thread(trim)
        least = resident()
        log.debug("%d bytes given back", now - least, extra={"action": "memory", "bytes": now - least})


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(_RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def trim() -> None:
    """Let the C library give back what it keeps free. Only GNU's has that to do."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
