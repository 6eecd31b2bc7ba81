"""Resources that executions share: each is entered at first need, and left in the task that entered it.

What holds a task group or a timeout, as clients of MCP do, can only be left by the task that entered it, and may cancel
that task when something in it fails. So each has a task of its own, which is no node's and not the closer's.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from ...errors import InvalidInput

ResourceFactory = Callable[[type], AbstractAsyncContextManager[Any]]

log = logging.getLogger("beluga_stream.worker")


class Resources:
    """Those of one process, by their types. Belongs to one event loop."""

    def __init__(self, open_resource: ResourceFactory | None) -> None:
        self._open = open_resource
        self._held: dict[type, _Held] = {}
        self._entering: dict[type, asyncio.Lock] = {}

    async def get(self, kind: type) -> Any:
        """The value of this type. Raises what its resource raises on entering, and `InvalidInput` without any.

        When the one before has ended by itself, another is entered.
        """
        held = self._held.get(kind)
        if held is not None and held.is_open:
            return held.value
        if self._open is None:
            raise InvalidInput(f"no resource gives a {kind.__name__}: declare one with @resource")
        async with self._entering.setdefault(kind, asyncio.Lock()):
            held = self._held.get(kind)
            if held is None or not held.is_open:
                if held is not None:
                    await held.ended()  # two of them might want the same port or file
                    self._held.pop(kind, None)
                held = _Held(kind, self._open)
                await held.entered()
                self._held[kind] = held
            return held.value

    async def close(self) -> None:
        """Leave them all, the last one first. Raises what one raises on leaving, once all are left."""
        held, self._held = self._held, {}
        async with AsyncExitStack() as leaving:
            for one in held.values():
                leaving.push_async_callback(one.leave)


class _Held:
    """One resource, and the task that holds it open."""

    def __init__(self, kind: type, open_resource: ResourceFactory) -> None:
        self.is_open = False
        self.value: Any = None
        self._kind = kind
        self._entered = asyncio.Event()
        self._wanted = asyncio.Event()
        self._error: BaseException | None = None
        self._task = asyncio.create_task(self._hold(open_resource), name=f"beluga-resource-{kind.__name__}")

    async def entered(self) -> None:
        """Wait until it is. Raises what it raises; a caller that is cancelled meanwhile cancels it, too."""
        try:
            await self._entered.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            await self.ended()
            raise
        if self._error is not None:
            raise self._error

    async def leave(self) -> None:
        """Leave it, unless it has ended by itself. Raises what it raises on leaving."""
        if self._task.done():
            return
        self._wanted.set()
        await self._task  # a caller that is cancelled here cancels the leaving
        if self._error is not None:
            raise self._error

    async def ended(self) -> None:
        """Wait until it is left."""
        if not self._task.done():
            await asyncio.wait({self._task})

    async def _hold(self, open_resource: ResourceFactory) -> None:
        try:
            async with open_resource(self._kind) as self.value:
                self.is_open = True
                self._entered.set()
                try:
                    await self._wanted.wait()
                finally:
                    self.is_open = False
        except BaseException as error:  # noqa: BLE001 - a user's resource may raise anything; it is handed over
            self._error = error
        if self._entered.is_set() and not self._wanted.is_set():
            self._tell()
        self._entered.set()

    def _tell(self) -> None:
        """It has ended by itself: no node and no close would hear of it."""
        if isinstance(self._error, asyncio.CancelledError):
            return  # with the loop
        log.error(
            "the resource %s has ended by itself: the next node that needs it opens another",
            self._kind.__name__,
            exc_info=self._error,
            extra={"action": "resource_lost", "resource": self._kind.__name__},
        )
