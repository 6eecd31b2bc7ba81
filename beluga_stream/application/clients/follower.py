"""Somebody who wants the records of one key of a partition: a bounded queue that is filled and emptied in batches."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ports.log import Record


@dataclass(eq=False, slots=True)
class Follower:
    """Keeps at most `most` records, and `most_bytes` of them; one record that is larger is kept alone.

    `lagging` means that some were dropped.
    """

    key: bytes
    most: int
    most_bytes: int
    since: int = 0
    """From where on it gets everything: where the partition ended when the following began, or earlier."""
    lagging: bool = False
    over: bool = False
    """Whether there will be no more."""
    _kept: list[Record] = field(default_factory=list)
    _bytes: int = 0
    _first: Record | None = None
    _woken: "asyncio.Future[None] | None" = None

    async def first(self) -> Record | None:
        """The first record since the following began, which stays in the queue; None when there will be none."""
        while self._first is None and not self.over:
            await self.wait()
        return self._first

    def take(self) -> Sequence[Record]:
        """All that is in the queue now."""
        taken, self._kept, self._bytes = self._kept, [], 0
        return taken

    async def wait(self) -> None:
        """Wait until more was offered, or there will be no more. One waits at a time."""
        if self.over:
            return
        self._woken = asyncio.get_running_loop().create_future()
        await self._woken

    def offer(self, records: Sequence[Record]) -> None:
        """Keep these, as long as there is room, and none was left out before them."""
        if self._first is None and records:
            self._first = records[0]
        if not self.lagging:
            self._keep(records)
        self._wake()

    def finish(self) -> None:
        """There will be no more."""
        self.over = True
        self._wake()

    def _keep(self, records: Sequence[Record]) -> None:
        for record in records:
            size = len(record.value or b"")
            full = len(self._kept) >= self.most or (self._bytes and self._bytes + size > self.most_bytes)
            if full:
                self.lagging = True
                return
            self._kept.append(record)
            self._bytes += size

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
