"""Compacted tables in this process: the ports `Tables` and `PartitionTable`, fenced as on Kafka."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import BelugaError, Fenced
from ...ports.log import Outgoing, Position
from .groups import MemoryGroup
from .log import MemoryLog


@dataclass(slots=True)
class Changelog:
    """What is durable of one partition, and which owner may write it."""

    epoch: int = 0
    rows: dict[str, bytes] = field(default_factory=dict)
    elsewhere: dict[tuple[str, int], int] = field(default_factory=dict)
    """The last owner that has written to a partition of another topic."""

    def append(self, epoch: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Apply the changes in order. Raises `Fenced` when a later owner has opened the partition."""
        if epoch != self.epoch:
            raise Fenced(f"another owner claimed the partition: epoch {self.epoch} follows {epoch}")
        for key, value in changes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    def admit(self, epoch: int, target: tuple[str, int]) -> None:
        """Let the owner write to a partition of another topic. Raises `Fenced` when a later one has done so."""
        known = self.elsewhere.get(target, 0)
        if epoch < known:
            raise Fenced(f"another owner has written to {target}: epoch {known} follows {epoch}")
        self.elsewhere[target] = epoch


class MemoryPartitionTable:
    """The port `PartitionTable`: one owner's copy of what the changelog holds."""

    def __init__(self, changelog: Changelog, log: MemoryLog) -> None:
        changelog.epoch += 1
        self.epoch = changelog.epoch
        self._changelog = changelog
        self._log = log
        self._rows = dict(changelog.rows)
        self._turn = asyncio.Lock()
        self._failure: BelugaError | None = None

    def get(self, key: str) -> bytes | None:
        return self._rows.get(key)

    def items(self) -> Iterable[tuple[str, bytes]]:
        return self._rows.items()

    async def commit(self, changes: Sequence[tuple[str, bytes | None]]) -> None:
        if not changes:
            return
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                await self.write(changes)
            except BelugaError as error:
                self._failure = error
                raise
        for key, value in changes:
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    async def write(self, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Make the changes durable."""
        self._changelog.append(self.epoch, changes)

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        self._log.check(records)
        return [self.put(record) for record in records]

    def put(self, record: Outgoing) -> Position:
        """Append one record now. Raises `Fenced`."""
        target = self._log.target(record)
        self._changelog.admit(self.epoch, target)
        return self._log.put(record, target)

    async def close(self) -> None:
        self._rows.clear()


class MemoryTables:
    """The port `Tables`, for a role that consumes `topics` in `group`, beside a log."""

    def __init__(self, group: MemoryGroup, topics: Sequence[str], log: MemoryLog) -> None:
        self._group = group
        self._topics = tuple(topics)
        self._log = log
        self.changelogs: dict[int, Changelog] = {}

    async def open(self, partition: int) -> MemoryPartitionTable:
        return MemoryPartitionTable(self.changelogs.setdefault(partition, Changelog()), self._log)

    async def committed(self, partition: int) -> Mapping[str, int]:
        return {topic: self._group.committed(topic, partition) or 0 for topic in self._topics}
