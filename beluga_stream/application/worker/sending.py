"""What an execution has sent and does not yet know to be durable: a window, which a fast producer has to wait for."""

import asyncio
from collections import deque
from collections.abc import Sequence

from ...ports.log import Position

_MOST = 512
_MOST_BYTES = 1 << 20

Sent = asyncio.Future[Sequence[Position]]


class Sending:
    """Counts what is under way, by the futures that tell of it. Many records may share one."""

    def __init__(self) -> None:
        self._sent: deque[list[int]] = deque()
        self._futures: deque[Sent] = deque()
        self._records = 0
        self._bytes = 0

    def note(self, sent: Sent, size: int) -> None:
        """A record of this size is on its way."""
        if self._futures and self._futures[-1] is sent:
            counts = self._sent[-1]
            counts[0] += 1
            counts[1] += size
        else:
            sent.add_done_callback(_seen)
            self._futures.append(sent)
            self._sent.append([1, size])
        self._records += 1
        self._bytes += size

    @property
    def is_full(self) -> bool:
        """Whether the next record has to wait for the first of these."""
        return self._records > _MOST or self._bytes > _MOST_BYTES

    async def settle(self, *, all_of_it: bool = False) -> None:
        """Wait until there is room, or all is durable. Raises what has failed."""
        while self._futures and (all_of_it or self.is_full):
            # Others wait for it too: it is not cancelled with the caller.
            await asyncio.shield(self._futures[0])
            self._futures.popleft()
            records, size = self._sent.popleft()
            self._records -= records
            self._bytes -= size


def _seen(sent: Sent) -> None:
    """A failure is raised where somebody waits for it; of the others nobody asks."""
    if not sent.cancelled():
        sent.exception()
