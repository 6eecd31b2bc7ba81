"""Consumer groups in this process: who may commit, and how far each partition has been read."""

from collections.abc import Mapping

from ...errors import Fenced


class MemoryGroup:
    """Committed offsets of one group. Each assignment is a generation, and older ones may not commit."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self._committed: dict[tuple[str, int], int] = {}

    def next_generation(self) -> int:
        """Begin a new assignment: members of older ones can commit nothing more."""
        self.generation += 1
        return self.generation

    def commit(self, generation: int, offsets: Mapping[tuple[str, int], int]) -> None:
        """Note the offsets after the last records that are done. Raises `Fenced` for an older generation."""
        if generation != self.generation:
            raise Fenced(f"group {self.name} is at generation {self.generation}: {generation} may not commit any more")
        self._committed.update(offsets)

    def committed(self, topic: str, partition: int) -> int | None:
        """The committed offset; None when there is none."""
        return self._committed.get((topic, partition))


class MemoryWorkers:
    """The port `Workers`, over the one group of workers."""

    def __init__(self, group: MemoryGroup, partitions: int) -> None:
        self._group = group
        self._partitions = partitions

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        return {number: self._group.committed(topic, number) or 0 for number in range(self._partitions)}
