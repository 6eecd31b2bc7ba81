"""A node under way in a worker, and the deliveries that wait for it and are let go of when it ends."""

import asyncio
from dataclasses import dataclass

from ...domain.ids import Incarnation
from ...domain.payload import Payload
from ...ports.telemetry import Telemetry
from ..execution.reports import About, about
from ..messages import NodeReady
from .slots import Slot


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
