"""Removes the blobs that nobody can want any more (docs/decisions/0011-sweeping.md).

A blob is *named* as long as a row of the coordinators' table has its reference: a run that goes on, one that has
failed and may be retried, one that has just ended. Each sweep lets what is named count as new, and removes what
has not been new for longer than the topics keep a record that may name it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import NamedTuple

from ...errors import BelugaError
from ...ports.blobs import SweptBlobs
from .. import codec
from . import early
from .named import named
from .partition import RunPartition

log = logging.getLogger("beluga_stream.coordinator")

_AT_ONCE = 1_000
_TURN = 100
_SOONEST = 24
"""The first sweep of a process comes after this part of the time between two: a start has better things to do."""

Rows = Callable[[], AsyncGenerator[Sequence[tuple[str, bytes | None]], None]]
"""The rows of the whole table in the order of their writes, some at a time; None removes a key."""


class Swept(NamedTuple):
    """What a sweep found."""

    named: int
    removed: int


class Sweeper:
    """Sweeps when told to. As a `Watch` it does so from time to time, while its process owns the first partition.

    `retention_ms` is the longest that a topic of the engine keeps a record, `every_ms` the time between two sweeps.
    """

    def __init__(self, blobs: SweptBlobs, rows: Rows, *, retention_ms: int, every_ms: int) -> None:
        self._blobs = blobs
        self._rows = rows
        self._every_ms = every_ms
        # What became unnamed right after a sweep was new then; the rest is for clocks that differ.
        self._kept_ms = retention_ms + 2 * every_ms
        self._next_ms: int | None = None
        self._sweeping: asyncio.Task[Swept] | None = None

    async def sweep(self, now_ms: int) -> Swept:
        """One sweep. When the table cannot be read whole, nothing is removed.

        Raises `LogUnavailable`, and `InvalidInput` for a row of a version that is not known here.
        """
        before_ms = now_ms - self._kept_ms
        in_use = await self._named()
        refs = iter(in_use)
        while some := list(islice(refs, _AT_ONCE)):
            await self._blobs.touch(some)
        removed = 0
        async with aclosing(self._blobs.older(before_ms)) as older:
            async for found in older:
                removed += await self._blobs.delete([ref for ref in found if ref not in in_use], before_ms)
        log.info(
            "swept the blobs: %d are named, %d are removed",
            len(in_use),
            removed,
            extra={"action": "sweep", "named": len(in_use), "removed": removed},
        )
        return Swept(len(in_use), removed)

    async def look(self, owned: Mapping[int, RunPartition], now: int) -> None:
        """See `Watch`: the sweep itself goes on beside."""
        if self._sweeping is not None:
            if self._sweeping.done():
                self._conclude(self._sweeping)
                self._sweeping = None
        elif 0 not in owned:
            self._next_ms = None
        elif self._next_ms is None:
            self._next_ms = now + self._every_ms // _SOONEST
        elif now >= self._next_ms:
            self._next_ms = now + self._every_ms
            self._sweeping = asyncio.create_task(self.sweep(now), name="beluga-sweep")

    def forget(self, partitions: Iterable[int]) -> None:
        """See `Watch`: whoever has the first partition sweeps."""
        if 0 in set(partitions) and self._sweeping is not None:
            self._sweeping.cancel()

    def _conclude(self, swept: "asyncio.Task[Swept]") -> None:
        if swept.cancelled():
            return
        try:
            swept.result()
        except BelugaError as error:
            log.warning("the blobs are not swept this time: %s", error, extra={"action": "sweep"})

    async def _named(self) -> set[str]:
        of_rows: dict[str, tuple[str, ...]] = {}
        async with aclosing(self._rows()) as batches:
            async for batch in batches:
                for number, (key, value) in enumerate(batch):
                    if number % _TURN == 0:
                        await asyncio.sleep(0)  # let others have their turn
                    refs = () if value is None else await self._references(key, value)
                    if refs:
                        of_rows[key] = refs
                    else:
                        of_rows.pop(key, None)
        return {ref for refs in of_rows.values() for ref in refs}

    async def _references(self, key: str, value: bytes) -> tuple[str, ...]:
        if key.startswith(early.PREFIX):
            return await named(self._blobs, codec.incoming.decode(value))
        return () if key.startswith("~") else await named(self._blobs, codec.kept.decode(value))
