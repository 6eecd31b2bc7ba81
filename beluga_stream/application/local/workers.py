"""Workers of a graph that runs here: so many executions at a time, and a bound on what may wait for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...errors import ResourceExhausted


class Workers:
    """At most `size` executions at a time, over all runs, first come, first served.

    What runs have begun always gets its turn: only whole runs are refused, before anything of them has run. So
    what waits is bounded by `queue` runs that have not begun, and by how wide those are that have.
    """

    def __init__(self, graph: str, size: int, queue: int) -> None:
        self._graph = graph
        self._size = size
        self._queue = queue
        self._places = asyncio.Semaphore(size)
        self._busy = 0
        self._waiting = 0
        self._admitted = 0  # runs whose first execution has not asked yet

    @property
    def busy(self) -> int:
        """How many executions go on."""
        return self._busy

    def admit(self) -> "Admission":
        """Let a run in. Raises `ResourceExhausted` when as much waits as may."""
        if self._waiting + self._admitted >= self._size - self._busy + self._queue:
            raise ResourceExhausted(
                f"graph {self._graph!r}: {self._busy} of max_workers={self._size} are at work, and "
                f"{self._waiting + self._admitted} wait, with queue_size={self._queue}: try again later, or raise one",
                graph=self._graph,
            )
        self._admitted += 1
        return Admission(self)

    def begun(self) -> None:
        """An admitted run has asked for its first place, or has ended without."""
        self._admitted -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A worker, when one is free."""
        if not self._waiting + self._busy:
            self._places = asyncio.Semaphore(self._size)  # one belongs to an event loop, and this may be another
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._places.release()


class Admission:
    """One run that was let in. It counts as waiting until its first execution asks for a worker."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._counts = True

    def close(self) -> None:
        """It has begun, or ended."""
        if self._counts:
            self._counts = False
            self._workers.begun()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A worker for one execution of the run."""
        self.close()
        async with self._workers.place():
            yield
