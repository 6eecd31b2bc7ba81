"""Many small appends as few large ones: whatever is handed in while one flush is under way goes with the next."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from ..ports.log import Appender, Outgoing, Position

_Entry: TypeAlias = tuple[list[Outgoing], "asyncio.Future[Sequence[Position]]"]


class Outbox:
    """Group commit in front of an `Appender`.

    A failed flush fails all that waited for it, and all that is handed in later: a role that sent what
    comes after a gap would have its readers take the missing part, sent again, for repeats. A client, whose
    records do not follow from one another, `goes_on`.
    """

    def __init__(self, appender: Appender, *, goes_on: bool = False) -> None:
        self._appender = appender
        self._goes_on = goes_on
        self._failure: Exception | None = None
        self._queue: list[_Entry] = []
        self._joint: _Entry | None = None
        """The entry that `add` adds to, while it is the last of the queue."""
        self._flushing: asyncio.Task[None] | None = None

    def submit(self, records: Sequence[Outgoing]) -> asyncio.Future[Sequence[Position]]:
        """Append soon, in the order of the calls; the future holds the positions once they are durable."""
        return self._enter(list(records))[1]

    def add(self, record: Outgoing) -> asyncio.Future[Sequence[Position]]:
        """Append soon, in the order of the calls, with whatever else is added meanwhile.

        The future is that of all of them, and done once they are durable: shield it.
        """
        if self._joint is None or not self._queue or self._queue[-1] is not self._joint:
            self._joint = self._enter([])
        self._joint[0].append(record)
        return self._joint[1]

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """Append and wait until durable."""
        return await self.submit(records)

    def _enter(self, records: list[Outgoing]) -> _Entry:
        entry: _Entry = (records, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="beluga-outbox")
        return entry

    async def close(self) -> None:
        """Wait until everything handed in is durable."""
        if self._flushing is not None:
            await self._flushing

    async def _flush(self) -> None:
        while self._queue:
            taken, self._queue = self._queue, []
            if self._failure is not None:
                _fail(taken, self._failure)
                continue
            try:
                positions = await self._appender.append([record for records, _ in taken for record in records])
            except Exception as error:  # noqa: BLE001 - it is handed to everybody who waits
                _fail(taken, error)
                self._failure = None if self._goes_on else error
                continue
            at = 0
            for records, future in taken:
                if not future.done():
                    future.set_result(positions[at : at + len(records)])
                at += len(records)


def _fail(taken: Sequence[_Entry], error: Exception) -> None:
    for _, future in taken:
        if not future.done():
            future.set_exception(error)
