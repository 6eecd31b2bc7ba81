"""What a role has taken and not yet settled, and therefore how far its offsets may be committed."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from faust.types import TP


class _Taken:
    """Some records given to the role: for each partition the offset up to which that is all."""

    __slots__ = ("left", "nexts", "settled")

    def __init__(self, nexts: Mapping[TP, int]) -> None:
        self.nexts = nexts
        self.left = len(nexts)
        self.settled = False


class Acknowledgements:
    """Acknowledges in order within each partition, whatever the order in which takings settle.

    Holds at most `limit` takings: `room` waits for the next one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: dict[TP, deque[_Taken]] = {}
        self._outstanding = 0
        self._settled: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._changed = asyncio.Event()

    @property
    def outstanding(self) -> int:
        return self._outstanding

    def take(self, nexts: Mapping[TP, int]) -> _Taken:
        """Note that all was given out that lies before these offsets."""
        taken = _Taken(nexts)
        for tp in nexts:
            self._pending.setdefault(tp, deque()).append(taken)
        self._outstanding += 1
        return taken

    def settle(self, taken: _Taken) -> None:
        """All that these records caused is durable."""
        taken.settled = True
        for tp in taken.nexts:
            queue = self._pending.get(tp)
            while queue and queue[0].settled:
                head = queue.popleft()
                self._settled[tp] = head.nexts[tp]
                head.left -= 1
                if head.left == 0:
                    self._outstanding -= 1
        self._changed.set()

    def to_commit(self) -> dict[TP, int]:
        """For each partition with news, the offset to commit. A log that has become shorter goes back."""
        return {tp: offset for tp, offset in self._settled.items() if self._committed.get(tp) != offset}

    def done(self, tp: TP) -> int | None:
        """The offset up to which all is settled; None when nothing was since the partition was taken."""
        return self._settled.get(tp, self._committed.get(tp))

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """The broker has these."""
        self._committed.update(offsets)

    def clear(self) -> None:
        """Forget everything: the partitions are given up. What settles later changes nothing."""
        self._pending.clear()
        self._settled.clear()
        self._committed.clear()
        self._outstanding = 0
        self._changed.set()

    def freeze(self) -> None:
        """Acknowledge nothing any more; what was settled before may still be committed."""
        self._pending.clear()
        self._outstanding = 0
        self._changed.set()

    def wake(self) -> None:
        """Let those that wait look at their condition again."""
        self._changed.set()

    async def room(self, give_up: Callable[[], bool]) -> None:
        """Wait until one more may be taken, or until `give_up` is true at a `wake`."""
        while self._outstanding >= self._limit and not give_up():
            self._changed.clear()
            await self._changed.wait()

    async def drained(self) -> None:
        """Wait until nothing is outstanding."""
        while self._outstanding:
            self._changed.clear()
            await self._changed.wait()
