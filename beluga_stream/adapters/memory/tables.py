"""Compacted tables in this process: the ports `Tables` and `PartitionTable`, fenced as on Kafka."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import BelugaError, Fenced
from .groups import MemoryGroup


@dataclass(slots=True)
class Changelog:
    """What is durable of one partition, and which owner may write it."""

    epoch: int = 0
    rows: dict[str, bytes] = field(default_factory=dict)

    def append(self, epoch: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Apply the changes in order. Raises `Fenced` when a later owner has opened the partition."""
        if epoch != self.epoch:
            raise Fenced(f"another owner claimed the partition: epoch {self.epoch} follows {epoch}")
        for key, value in changes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


class MemoryPartitionTable:
    """The port `PartitionTable`: one owner's copy of what the changelog holds."""

    def __init__(self, changelog: Changelog) -> None:
        changelog.epoch += 1
        self.epoch = changelog.epoch
        self._changelog = changelog
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

    async def close(self) -> None:
        self._rows.clear()


class MemoryTables:
    """The port `Tables`, for a role that consumes `topics` in `group`."""

    def __init__(self, group: MemoryGroup, topics: Sequence[str]) -> None:
        self._group = group
        self._topics = tuple(topics)
        self.changelogs: dict[int, Changelog] = {}

    async def open(self, partition: int) -> MemoryPartitionTable:
        return MemoryPartitionTable(self.changelogs.setdefault(partition, Changelog()))

    async def committed(self, partition: int) -> Mapping[str, int]:
        return {topic: self._group.committed(topic, partition) or 0 for topic in self._topics}
