"""A role that notes everything its driver does with it, for the contract tests of drivers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from beluga_stream.ports.log import Record


class RecordingRole:
    """Notes calls and records. `hold` makes it answer with awaitables that `settle` fulfils."""

    def __init__(self, *topics: str, hold: bool = False) -> None:
        self.topics = topics
        self.hold = hold
        self.calls: list[tuple[str, frozenset[int]]] = []
        self.records: list[Record] = []
        self.batches: list[Sequence[Record]] = []
        self.passes: list[tuple[str, int, int]] = []
        self.owned: frozenset[int] = frozenset()
        self.closed = False
        self.held_back: frozenset[str] = frozenset()
        self.yielding: frozenset[str] = frozenset()
        self.pending: list[asyncio.Future[None]] = []
        self.raises: Exception | None = None
        self._news = asyncio.Event()

    async def acquire(self, partitions: frozenset[int]) -> None:
        self.calls.append(("acquire", partitions))
        self.owned = partitions
        self._news.set()

    async def release(self, partitions: frozenset[int]) -> None:
        self.calls.append(("release", partitions))
        self.owned = frozenset()
        self._news.set()

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        assert {record.partition for record in records} <= self.owned
        if self.raises is not None:
            raise self.raises
        self.batches.append(records)
        self.records += records
        self._news.set()
        if not self.hold:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        return future

    def passed(self, topic: str, partition: int, offset: int) -> None:
        assert partition in self.owned
        self.passes.append((topic, partition, offset))
        self._news.set()

    async def tend(self) -> None:
        return

    async def close(self) -> None:
        self.closed = True

    async def until(self, condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Wait until the condition holds; looks whenever the driver did something."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def settle(self, index: int) -> None:
        self.pending[index].set_result(None)


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 30.0) -> None:
    """Wait until the broker says so."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.05)
