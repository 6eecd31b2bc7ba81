"""Keeps what a process has loaded in large pages of memory, where Linux offers that.

Between two steps of a run a process gives the processor to those that go on with it, and finds its caches cold after
that. It then goes through most of the engine's code and what that has built: tens of megabytes, in ten thousand pages
of 4 KiB, each of which the processor has to look up anew, in a virtual machine twice over. In pages of 2 MiB there are
a few dozen of them (docs/decisions/0036-pages.md).
"""

import asyncio
import ctypes
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from .beside import beside

log = logging.getLogger(__name__)

_AFTER_SECONDS = 10.0
"""By then all is loaded; and a process that ends before has no use for it."""
_LARGE = 2 << 20
_MOST = 256 << 20
"""Bytes at most: each large page takes some milliseconds to fill."""
_COLLAPSE = 25
"""MADV_COLLAPSE of <linux/mman.h>, since Linux 6.1: the pages of this range become large ones now."""
_FULL = 0.9
"""The part of a range that must be in memory already: in large pages all of it would be."""

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_RANGES = Path("/proc/self/smaps")
_RANGE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\])?$")


@asynccontextmanager
async def in_large_pages() -> AsyncIterator[None]:
    """For a process: a while from now, what it has loaded by then. Does nothing where that cannot be."""

    async def later() -> None:
        await asyncio.sleep(_AFTER_SECONDS)
        count = await asyncio.to_thread(enlarge)
        log.debug("%d large pages", count, extra={"action": "pages", "pages": count})

    async with beside(later(), "beluga-pages"):
        yield


def enlarge() -> int:
    """Move what lies in memory as a whole into large pages; returns how many became such."""
    try:
        if "[never]" in _SETTING.read_text():
            return 0
        ranges = list(full_ranges(_RANGES.read_text(errors="replace").splitlines()))
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0  # another system
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    places = [place for start, end in ranges for place in range(start, end, _LARGE)][: _MOST // _LARGE]
    return sum(advise(place, _LARGE, _COLLAPSE) == 0 for place in places)


def full_ranges(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Of what `smaps` tells, the private memory of no file that is there as a whole, in bounds of large pages."""
    bounds: tuple[int, int] | None = None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "Rss" and bounds is not None:
            start, end = bounds
            if 1024 * int(rest.split()[0]) >= _FULL * (end - start):
                start, end = -(-start // _LARGE) * _LARGE, end // _LARGE * _LARGE
                if start < end:
                    yield start, end
            bounds = None
        elif " " in name:
            found = _RANGE.match(line)
            bounds = None if found is None else (int(found[1], 16), int(found[2], 16))
