"""A node under way in a worker, and what is let go of when it ends: its slot, and the deliveries that wait for it."""

import asyncio
from dataclasses import dataclass

from ...domain.ids import Incarnation
from ...domain.payload import Payload
from ...ports.telemetry import Telemetry
from ..execution.reports import About, about
from ..messages import NodeReady


class Batch:
    """Counts the nodes of one delivery that are neither done nor leased."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def one_less(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Slot:
    """One of the places for handlers, while it is held. None bounds what has a process of its own to wait for."""

    __slots__ = ("_held", "_of", "_over")

    def __init__(self, of: asyncio.Semaphore | None) -> None:
        self._of = of
        self._held = False
        self._over = False

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
        """Wait for a place again, if it was given back: others that wait come first."""
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


@dataclass(slots=True)
class Underway:
    """A node under way in this process. `careful`: it takes its lease before it runs."""

    work: NodeReady
    topic: str
    careful: bool
    slot: Slot
    batches: list[Batch]
    incarnation: Incarnation
    began_ms: int
    task: asyncio.Task[None] | None = None
    begun: bool = False
    """Whether it has its slot."""
    reporting: bool = False
    leased: bool = False
    reported: bool = False
    """Whether its outcome is on its way."""
    beat_ms: int = 0
    details: Payload | None = None
    stopped_ms: int | None = None
    """When it was told to stop; it may take a while, or not listen."""
    left: bool = False

    def begin(self, now_ms: int, telemetry: Telemetry) -> None:
        """It has its slot."""
        self.begun, self.began_ms = True, now_ms
        telemetry.node_began(self.work.graph, (now_ms - self.work.at_ms) / 1000)

    def about(self, now_ms: int) -> About:
        """What each event of it says."""
        return about(self.work, self.incarnation, now_ms)

    def release(self) -> None:
        """Let its deliveries be acknowledged."""
        for batch in self.batches:
            batch.one_less()
        self.batches.clear()
