"""The ports as one simulated process has them: delays, partial writes, lost confirmations, and death in between."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from ..adapters.memory.driver import MemoryDriver
from ..adapters.memory.groups import MemoryGroup, MemoryWorkers
from ..adapters.memory.log import MemoryLog
from ..adapters.memory.tables import Changelog, MemoryPartitionTable, MemoryTables
from ..errors import BelugaError, LogUnavailable
from ..ports.log import Outgoing, Position, Record, Role
from .process import Faults, Process
from .witness import Witness

_A_MOMENT = 1e-6

Changes: TypeAlias = Sequence[tuple[str, bytes | None]]
Note: TypeAlias = Callable[[Changes], None]


class Wire:
    """What a process has sent and the broker has not written yet: in order, and cut off somewhere when it dies."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._last: dict[object, float] = {}
        self._cut: set[object] = set()

    def send(self, channel: object, write: Callable[[], None]) -> None:
        """Write later, after all that this channel was given before; maybe never when the process dies first."""
        loop = asyncio.get_running_loop()
        at = max(self._last.get(channel, 0.0) + _A_MOMENT, loop.time() + self._process.faults.pause())
        self._last[channel] = at
        loop.call_at(at, self._arrive, channel, write)

    def _arrive(self, channel: object, write: Callable[[], None]) -> None:
        faults = self._process.faults
        if not self._process.alive and (channel in self._cut or faults.random.random() < faults.lost_in_flight):
            self._cut.add(channel)
            return
        write()


class FaultyAppender:
    """The port `Appender` of one process."""

    def __init__(self, log: MemoryLog, process: Process, witness: Witness | None = None) -> None:
        self._log = log
        self._process = process
        self._witness = witness
        self._wire = Wire(process)

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        self._log.check(records)
        if self._witness is not None:
            self._witness.sends(self._process, records)
        await self._process.effect()
        targets = [self._log.target(record) for record in records]
        if self._forgets(records):
            self._process.tell(f"the log confirms an append of {len(records)}, and loses it")
            return [Position(topic, number, self._log.records_in(topic)) for topic, number in targets]
        arrives = self._arrive(targets)
        positions: dict[int, Position] = {}
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def write(index: int) -> None:
            positions[index] = self._log.put(records[index], targets[index])
            if self._witness is not None:
                self._witness.story.wrote(self._process.name, positions[index])
            if len(positions) == len(arrives) and not written.done():
                written.set_result(None)

        for index in arrives:
            self._wire.send(targets[index], lambda index=index: write(index))  # type: ignore[misc]
        if arrives:
            await written
        await self._process.effect()
        if len(arrives) < len(records) or self._process.faults.strikes(self._process.faults.unavailable):
            self._process.tell(f"an append of {len(records)} is not confirmed; {len(arrives)} came")
            raise LogUnavailable("the broker did not confirm in time (simulated)")
        return [positions[index] for index in range(len(records))]

    def _forgets(self, records: Sequence[Outgoing]) -> bool:
        """Whether the log loses what it confirms, as one does whose leader dies without a replica.

        What time does can be told again by whoever told it; the rest is lost for good.
        """
        faults = self._process.faults
        return self._witness is not None and self._witness.tells_the_time(records) and faults.strikes(faults.forgets)

    def _arrive(self, targets: Sequence[tuple[str, int]]) -> Sequence[int]:
        """Which records will be written: all, or of each partition a first part when the broker has trouble."""
        faults = self._process.faults
        if not faults.strikes(faults.unavailable):
            return range(len(targets))
        left = {target: faults.random.randint(0, targets.count(target)) for target in dict.fromkeys(targets)}
        arrives: list[int] = []
        for index, target in enumerate(targets):
            if left[target] > 0:
                left[target] -= 1
                arrives.append(index)
        return arrives


class FaultyReader:
    """The port `Reader` of one process."""

    def __init__(self, log: MemoryLog, process: Process) -> None:
        self._log = log
        self._process = process

    async def partitions(self, topic: str) -> int:
        await self._process.effect()
        return await self._log.partitions(topic)

    async def end(self, topic: str) -> Mapping[int, int]:
        await self._process.effect()
        found = await self._log.end(topic)
        await self._process.effect()
        return found

    async def beginning(self, topic: str) -> Mapping[int, int]:
        await self._process.effect()
        return await self._log.beginning(topic)

    async def at_time(self, topic: str, timestamp_ms: int) -> Mapping[int, int]:
        await self._process.effect()
        return await self._log.at_time(topic, timestamp_ms)

    async def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        faults = self._process.faults
        if until is None and not faults.calm and faults.random.random() < faults.late:
            await asyncio.sleep(faults.random.uniform(0, faults.late_delay))
        async for records in self._log.read(topic, start, until=until):
            await self._process.effect()
            yield records
            if until is None and faults.random.random() < _EMPTY:
                yield ()


_EMPTY = 0.05
"""How often a live read gives an empty batch, as Kafka's does when nothing comes."""


class FaultyPartitionTable(MemoryPartitionTable):
    """The port `PartitionTable` of one process: a commit may be cut off after any of its changes.

    `torn` is how often the process dies just there, beside the crashes that may come at any effect.
    """

    def __init__(self, changelog: Changelog, log: MemoryLog, process: Process, note: Note, torn: float = 0.0) -> None:
        super().__init__(changelog, log)
        self._torn = torn
        self._process = process
        self._note = note
        self._wire = Wire(process)

    async def write(self, changes: Sequence[tuple[str, bytes | None]]) -> None:
        await self._process.effect()
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cut = self._process.faults.random.randint(0, len(changes))
        parts = [part for part in (changes[:cut], changes[cut:]) if part]

        def arrive(number: int) -> None:
            try:
                self._changelog.append(self.epoch, parts[number])
                self._note(parts[number])
                if number < len(parts) - 1 and self._process.alive and self._process.faults.strikes(self._torn):
                    self._process.kill()
            except BelugaError as error:
                if not written.done():
                    written.set_exception(error)
            else:
                if number == len(parts) - 1 and not written.done():
                    written.set_result(None)

        for number in range(len(parts)):
            self._wire.send("changelog", lambda number=number: arrive(number))  # type: ignore[misc]
        await written
        await self._process.effect()

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        self._log.check(records)
        await self._process.effect()
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        positions: list[Position] = []

        def arrive(record: Outgoing) -> None:
            try:
                positions.append(self.put(record))
            except BelugaError as error:
                if not written.done():
                    written.set_exception(error)
            else:
                if len(positions) == len(records) and not written.done():
                    written.set_result(None)

        for record in records:
            self._wire.send("elsewhere", partial(arrive, record))
        await written
        await self._process.effect()
        return positions


class FaultyTables(MemoryTables):
    """The port `Tables` of one process, over changelogs that all processes share.

    `note` is told what became durable of each partition; `torn` is explained at their partitions.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it is wired in few places
        self,
        group: MemoryGroup,
        topics: Sequence[str],
        log: MemoryLog,
        changelogs: dict[int, Changelog],
        process: Process,
        note: Callable[[int, Changes], None] | None = None,
        torn: float = 0.0,
    ) -> None:
        super().__init__(group, topics, log)
        self.changelogs = changelogs
        self._torn = torn
        self._process = process
        self._note = note

    async def open(self, partition: int) -> MemoryPartitionTable:
        await self._process.effect()
        changelog = self.changelogs.setdefault(partition, Changelog())
        note = partial(self._told, partition)
        table = FaultyPartitionTable(changelog, self._log, self._process, note, self._torn)
        await self._process.effect()
        return table

    def _told(self, partition: int, changes: Changes) -> None:
        if self._note is not None:
            self._note(partition, changes)

    async def committed(self, partition: int) -> Mapping[str, int]:
        await self._process.effect()
        return await super().committed(partition)


class FaultyWorkers(MemoryWorkers):
    """The port `Workers` of one process."""

    def __init__(self, group: MemoryGroup, partitions: int, process: Process) -> None:
        super().__init__(group, partitions)
        self._process = process

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        await self._process.effect()
        found = await super().acknowledged(topic)
        await self._process.effect()
        return found


class FaultyDriver(MemoryDriver):
    """A driver that takes random batches, and commits when it pleases: what is not committed comes again.

    With `commits_at_rest` it commits in the end though nothing more comes, as Faust does: others go by that.
    """

    def __init__(
        self,
        role: Role,
        log: MemoryLog,
        group: MemoryGroup,
        process: Process,
        witness: Witness,
        *,
        commits_at_rest: bool = False,
    ) -> None:
        super().__init__(role, log, group, pick=lambda found: _some(found, process.faults), drain_seconds=5.0)
        self._process = process
        self._witness = witness
        self._commits_at_rest = commits_at_rest
        witness.drives(process, role, self._reads)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            while self._commits_at_rest:
                await asyncio.sleep(self._process.faults.random.uniform(0, _COMMITTED_WITHIN_SECONDS))
                await self._process.effect()
                self.commit()

    async def assign(self, partitions: frozenset[int], generation: int) -> None:
        acquired = self._witness.acquires(self._process)
        await super().assign(partitions, generation)
        acquired()

    async def step(self) -> None:
        await self._process.effect()
        await super().step()

    @property
    def behind(self) -> bool:
        """Whether there is something to read, or what was read is not done."""
        under_way = any(future is not None and not future.done() for _, future in self._pending)
        return under_way or bool(self._available())

    def _reads(self, topic: str, partition: int) -> int:
        """How far it was given this partition, or will be given it from."""
        at = self._position.get((topic, partition))
        return self._group.committed(topic, partition) or 0 if at is None else at

    def settle(self) -> None:
        if self._process.alive and (
            self._process.faults.calm
            or len(self._pending) > _UNCOMMITTED_AT_MOST
            or self._process.faults.random.random() < _COMMITS
        ):
            self.commit()


_COMMITS = 0.2
_COMMITTED_WITHIN_SECONDS = 10.0
_UNCOMMITTED_AT_MOST = 32


def _some(available: Mapping[tuple[str, int], Sequence[Record]], faults: Faults) -> Sequence[Record]:
    """Some of the partitions, in any order, and a first part of each."""
    targets = list(available)
    faults.random.shuffle(targets)
    chosen = targets[: faults.random.randint(1, len(targets))]
    return [record for target in chosen for record in available[target][: faults.random.randint(1, 20)]]
