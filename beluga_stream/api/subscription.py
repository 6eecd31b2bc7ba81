"""`Subscription`: a subscriber of the message bus, as whoever subscribed holds it."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from ..application.bus.subscription import Subscribed
from .retry import Seconds, seconds

T = TypeVar("T")


class Subscription:
    """A subscriber of the bus. Close it, or use it with `async with`, or let the bus close it."""

    def __init__(self, pattern: str, group: str | None, subscribed: Subscribed) -> None:
        self.pattern = pattern
        self.group = group
        self._subscribed = subscribed

    @property
    def name(self) -> str:
        """What it is called in dead letters."""
        return self._subscribed.subscriber

    async def close(self, grace: Seconds = 5) -> None:
        """Take no more. Handlers may end within `grace`; what is not done then goes to the rest of the group.

        It is completed even if the caller is cancelled. A handler that calls it does not wait for it, so it can end.
        """
        await self._subscribed.close(seconds(grace))

    async def unless_closed(self, awaited: Coroutine[Any, Any, T]) -> T | None:
        """What is awaited; None when the subscription is closed first."""
        waiting = asyncio.create_task(awaited)
        closing = asyncio.create_task(self._subscribed.closed.wait())
        try:
            await asyncio.wait((waiting, closing), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            closing.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        await self.close()
