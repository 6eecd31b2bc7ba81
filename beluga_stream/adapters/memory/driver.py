"""Drives a role over a `MemoryLog`, as Faust does over Kafka: batches, ordered acknowledgement, commits."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from ...errors import Fenced
from ...ports.log import Record, Role
from .groups import MemoryGroup
from .log import MemoryLog

Pick = Callable[[Mapping[tuple[str, int], Sequence[Record]]], Sequence[Record]]
"""Chooses the next batch from what can be read now, keeping each partition's order."""

_BATCH = 500
_TAKEN_AT_MOST = 64

_HELD_SECONDS = 0.05
"""What is held back may be wanted again in a moment, and nothing else may happen that tells of it."""


def everything(available: Mapping[tuple[str, int], Sequence[Record]]) -> Sequence[Record]:
    """All there is: what a driver takes unless told otherwise."""
    return [record for records in available.values() for record in records]


class MemoryDriver:
    """One role and the partitions that it is assigned now.

    `assign` and `revoke` are the group's rebalances; `run` goes on until it is cancelled, and raises
    what the role raises. `drain_seconds` bounds how long a revoke waits for what the role has taken.
    """

    def __init__(
        self,
        role: Role,
        log: MemoryLog,
        group: MemoryGroup,
        *,
        pick: Pick = everything,
        drain_seconds: float = 10.0,
    ) -> None:
        self.role = role
        self._log = log
        self._group = group
        self._pick = pick
        self._drain_seconds = drain_seconds
        self._turn = asyncio.Lock()
        self._woken: asyncio.Future[None] | None = None
        self._generation = 0
        self._assigned: frozenset[int] = frozenset()
        self._position: dict[tuple[str, int], int] = {}
        self._pending: deque[tuple[dict[tuple[str, int], int], asyncio.Future[None] | None]] = deque()
        self._acked: dict[tuple[str, int], int] = {}

    @property
    def assigned(self) -> frozenset[int]:
        return self._assigned

    async def assign(self, partitions: frozenset[int], generation: int) -> None:
        """Take over these partition numbers and read on from what the group has committed."""
        async with self._turn:
            self._generation = generation
            await self.role.acquire(partitions)
            self._position = {}
            for topic in self.role.topics:
                begins = await self._log.beginning(topic)
                for number in sorted(partitions & begins.keys()):
                    committed = self._group.committed(topic, number)
                    self._position[topic, number] = max(committed or 0, begins[number])
            self._assigned = partitions
            self._wake()

    async def revoke(self) -> None:
        """Let the role finish what it can within the bound, commit, and give everything up."""
        async with self._turn:
            held, self._assigned = self._assigned, frozenset()
            self._wake()
            await self.role.release(held)
            taken = [future for _, future in self._pending if future is not None]
            if taken:
                await asyncio.wait(taken, timeout=self._drain_seconds)
            self.commit()
            self._pending.clear()
            self._acked.clear()
            self._position.clear()

    def commit(self) -> None:
        """Commit what is settled, in order. An assignment that is over commits nothing."""
        while self._pending:
            nexts, future = self._pending[0]
            if future is not None and (not future.done() or future.cancelled() or future.exception()):
                break
            self._acked.update(nexts)
            self._pending.popleft()
        if self._acked:
            with suppress(Fenced):
                self._group.commit(self._generation, self._acked)
            self._acked = {}

    async def run(self) -> None:
        """Deliver, for as long as the role lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.role.tend())
            while True:
                await self.step()

    async def step(self) -> None:
        """Wait until there is something to deliver or to commit, then do it."""
        self._raise_failure()
        await self._wait()
        self._raise_failure()
        async with self._turn:
            takes = bool(self._assigned) and len(self._pending) < _TAKEN_AT_MOST
            if takes:
                self._pass()
            available = self._available() if takes else {}
            batch = self._pick(available) if available else ()
            if batch:
                await self._deliver(batch)
        self.settle()

    def settle(self) -> None:
        """What follows a delivery; a simulation commits later, or never."""
        self.commit()

    def _pass(self) -> None:
        """Go on behind what is no record, or was removed unread."""
        for (topic, partition), offset in self._log.without_records(self._wanted()).items():
            self._position[topic, partition] = offset
            self.role.passed(topic, partition, offset)
            self._pending.append(({(topic, partition): offset}, None))

    async def _deliver(self, batch: Sequence[Record]) -> None:
        nexts: dict[tuple[str, int], int] = {}
        for record in batch:
            nexts[record.topic, record.partition] = record.offset + 1
        self._position.update(nexts)
        later: Awaitable[None] | None = await self.role.handle(batch)
        settled = None if later is None else asyncio.ensure_future(later)
        if settled is not None:
            settled.add_done_callback(self._wake)
        self._pending.append((nexts, settled))

    def _available(self) -> dict[tuple[str, int], Sequence[Record]]:
        return self._log.available(self._wanted(), _BATCH)

    def _wanted(self) -> Mapping[tuple[str, int], int]:
        """Where to read on, without the topics of which the role wants no more for now."""
        held = self.role.held_back
        return {place: at for place, at in self._position.items() if place[0] not in held} if held else self._position

    async def _wait(self) -> None:
        """Until something can be read, something taken is settled, or the assignment changes."""
        reads = self._assigned and len(self._pending) < _TAKEN_AT_MOST
        # What retention has removed unread wakes it too: what it has taken before is committed meanwhile.
        wanted = self._wanted() if reads else {}
        if self._log.is_past(wanted):
            await asyncio.sleep(0)
            return
        places = tuple(wanted)
        loop = asyncio.get_running_loop()
        woken = self._woken = loop.create_future()
        held = loop.call_later(_HELD_SECONDS, self._wake) if reads and len(wanted) < len(self._position) else None
        self._log.watch(places, woken)
        try:
            await woken
        finally:
            if held is not None:
                held.cancel()
            self._woken = None
            self._log.forget(places, woken)

    def _wake(self, _: object = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _raise_failure(self) -> None:
        for _, future in self._pending:
            if future is not None and future.done() and not future.cancelled():
                error = future.exception()
                if error is not None:
                    raise error
