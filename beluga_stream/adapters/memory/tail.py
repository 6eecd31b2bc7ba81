"""The last records of a partition: a list whose oldest can be dropped, and whose others keep their numbers."""

from typing import overload

from ...ports.log import Record


class Tail:
    """Numbered as if all that were ever appended were there. Those that are not may not be asked for one by one."""

    def __init__(self) -> None:
        self._kept: list[Record] = []
        self._first = 0

    def append(self, record: Record) -> None:
        """Add one after the last."""
        self._kept.append(record)

    def drop(self, count: int) -> int:
        """Forget the oldest so many; returns the number of the first that is left."""
        del self._kept[:count]
        self._first += count
        return self._first

    def __len__(self) -> int:
        return self._first + len(self._kept)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        if isinstance(at, int):
            return self._kept[at - self._first]
        start, stop, _ = at.indices(len(self))
        return self._kept[max(0, start - self._first) : max(0, stop - self._first)]
