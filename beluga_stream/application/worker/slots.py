"""A worker's places for handlers: who has one, and how many wait for one."""

import asyncio

_WAITING_MOST = 1_000
"""So many nodes wait for a place before no more are taken: each costs memory, and a heartbeat now and then. What stays
in its topic is lag, and whoever gets the partition can begin it."""


class Slots:
    """So many of them as handlers may run at once. First come, first served."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._waiting = 0
        self._crowded = False

    @property
    def crowded(self) -> bool:
        """From when many wait until half of them have gone."""
        self._crowded = self._waiting >= (_WAITING_MOST // 2 if self._crowded else _WAITING_MOST)
        return self._crowded

    async def acquire(self) -> None:
        """Wait for one."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Let another have it."""
        self._free.release()


class Slot:
    """One of them, while it is held. None bounds what has a process of its own to wait for."""

    __slots__ = ("_held", "_of", "_over", "_taking")

    def __init__(self, of: Slots | None) -> None:
        self._of = of
        self._held = False
        self._over = False
        self._taking = asyncio.Lock()

    async def __aenter__(self) -> None:
        if self._of is not None:
            await self._of.acquire()
            self._held = True

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let another have it for good, also before the handler ends."""
        self._over = True
        self.give_back()

    async def take_again(self) -> None:
        """Wait for a place again, if it was given back: others that wait come first.

        A handler may read several streams at once: it wants one place, whichever of them goes on first.
        """
        async with self._taking:
            if self._of is not None and not self._held and not self._over:
                await self._of.acquire()
                self._held = True
                self._check_left()

    def _check_left(self) -> None:
        if self._over:  # it was left while it waited
            self.give_back()

    def give_back(self) -> None:
        """Let another have it, while the handler does nothing but wait."""
        if self._held and self._of is not None:
            self._held = False
            self._of.release()
