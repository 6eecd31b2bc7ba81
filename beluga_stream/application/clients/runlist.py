"""The newest runs as a list in memory: `beluga.runs` followed by one reader, for those who list often.

Opened at the first request, and then kept up to date. Of each run only its newest summary is kept, without its output.
"""

import asyncio
import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...bounds import within
from ...domain.frozen import replace
from ...domain.ids import RunId
from ...errors import LogUnavailable
from ...ports.log import Reader, Record
from .. import codec
from ..messages import Summary

RUNS_LISTED = 100_000
"""About half a KiB each."""

_WITHIN_SECONDS = 30.0
"""Most time until the list has come to where the topic ends."""


class Place(NamedTuple):
    """Where a run stands in the list: by its start, then by its id."""

    started_ms: int
    run: str


class RunList:
    """The newest `most` runs of the topic, oldest start first. Close it after use."""

    def __init__(self, reader: Reader, topic: str, *, most: int = RUNS_LISTED) -> None:
        self._reader = reader
        self._topic = topic
        self._most = most
        self._runs: dict[RunId, Summary] = {}
        self._order: list[Place] = []
        self._positions: dict[int, int] = {}
        self._following: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    async def close(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def page(
        self, after: Place | None, limit: int, fits: Callable[[Summary], bool], *, newest: bool = False
    ) -> tuple[list[Summary], Place | None]:
        """Runs after a place that fit, at most so many, and the place of the last of them when there are more.

        With `newest` the list begins with the newest run. Everything that was in the topic at the call is taken into
        account. Raises `LogUnavailable`.
        """
        await self._catch_up()
        found: list[Summary] = []
        for summary in self._before(after) if newest else self._after(after):
            if fits(summary):
                if len(found) == limit:
                    return found, _place(found[-1])
                found.append(summary)
        return found, None

    def _after(self, place: Place | None) -> Iterator[Summary]:
        begin = 0 if place is None else bisect_right(self._order, place)
        for at in range(begin, len(self._order)):
            yield self._runs[RunId(self._order[at].run)]

    def _before(self, place: Place | None) -> Iterator[Summary]:
        end = len(self._order) if place is None else bisect_left(self._order, place)
        for at in range(end - 1, -1, -1):
            yield self._runs[RunId(self._order[at].run)]

    async def _catch_up(self) -> None:
        ends = await self._reader.end(self._topic)
        if self._following is None or self._following.done():
            if not self._positions:
                self._positions.update(await self._reader.beginning(self._topic))
            self._following = asyncio.create_task(self._follow(), name="beluga-run-list")
            self._following.add_done_callback(self._ended)
        following = self._following
        try:
            async with within(_WITHIN_SECONDS):
                while any(self._positions[number] < end for number, end in ends.items()):
                    if following.done():
                        break
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            raise LogUnavailable(f"{self._topic} could not be read to its end: is the broker there?") from error
        if following.done() and not following.cancelled():
            following.result()

    def _ended(self, following: "asyncio.Task[None]") -> None:
        if not following.cancelled():
            following.exception()  # whoever waits hears of it, and the next who asks begins again
        self._moved.set()

    async def _follow(self) -> None:
        async for records in self._reader.read(self._topic, dict(self._positions)):
            for record in records:
                self._take(record)
                self._positions[record.partition] = record.offset + 1
            self._moved.set()

    def _take(self, record: Record) -> None:
        if record.value is None:
            self._drop(RunId((record.key or b"").decode()))
            return
        told: Summary = codec.summaries.decode(record.value)
        self._drop(told.run)
        # What most runs share is kept once.
        names = (sys.intern(each) for each in (told.graph, told.status, told.trigger))
        graph, status, trigger = names
        self._runs[told.run] = replace(told, graph=graph, status=status, trigger=trigger, output=None)
        insort(self._order, _place(told))
        if len(self._order) > self._most:
            del self._runs[RunId(self._order.pop(0).run)]

    def _drop(self, run: RunId) -> None:
        known = self._runs.pop(run, None)
        if known is not None:
            del self._order[bisect_right(self._order, _place(known)) - 1]


def _place(summary: Summary) -> Place:
    return Place(summary.started_ms, summary.run)
