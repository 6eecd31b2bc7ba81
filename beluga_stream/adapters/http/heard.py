"""Waiting for a run's next event, for so long, and for the gateway's end: what a stream to a client does most."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from enum import Enum, auto
from typing import Self

from ...application.clients.results import Event

_AHEAD = 16
"""Most events that are read before they are asked for."""


class Quiet(Enum):
    """Why there is no event."""

    SILENT = auto()
    CLOSED = auto()
    OVER = auto()


class Heard:
    """The events of one stream, read ahead by a task of its own. Use it with `async with`; one waits at a time.

    A task for each event, so that a wait for it could end, cost a gateway of a thousand readers a third of its time.
    """

    def __init__(self, events: AsyncGenerator[Event | None, None], closing: asyncio.Event) -> None:
        self._events = events
        self._closing = closing
        self._ahead: deque[Event | None] = deque()
        self._wanted: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        self._closed = asyncio.create_task(self._closing.wait())
        for task in (self._reading, self._closed):
            task.add_done_callback(lambda _: _wake(self._wanted))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = (self._reading, self._closed)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._events.aclose()

    async def next(self, patience: float) -> Event | Quiet | None:
        """The next event, or why there is none within `patience` (seconds). Raises what the reading raised."""
        if not self._ready():
            loop = asyncio.get_running_loop()
            wanted = self._wanted = loop.create_future()
            timer = loop.call_later(patience, _wake, wanted)
            try:
                await wanted
            finally:
                timer.cancel()
        if self._closed.done():
            return Quiet.CLOSED
        if self._ahead:
            event = self._ahead.popleft()
            _wake(self._room)
            return event
        if not self._reading.done():
            return Quiet.SILENT
        self._reading.result()
        return Quiet.OVER

    def _ready(self) -> bool:
        return bool(self._ahead) or self._closed.done() or self._reading.done()

    async def _read(self) -> None:
        async with contextlib.aclosing(self._events) as events:
            async for event in events:
                self._ahead.append(event)
                _wake(self._wanted)
                while len(self._ahead) >= _AHEAD:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
