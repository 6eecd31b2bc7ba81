"""Lets effects follow decisions: what is decided is written, then what it causes is sent, in the order of the batches.

Beside whatever is decided meanwhile (docs/decisions/0007-pipelining.md).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...ports.log import Appender, Outgoing
from ..outbox import Outbox
from .partition import RunPartition, Sealed


class Rendered(NamedTuple):
    """The records that a partition's part of a batch causes."""

    outputs: Sequence[Outgoing]
    """Their readers know repeats by their counters."""
    summaries: Sequence[Outgoing] = ()
    """Of these the last one counts: only the owner of the partition may write them, so none comes after a newer one."""


class Decided(NamedTuple):
    """A partition's part of a batch: on its way into the table (None: nothing ever was), and what makes its records."""

    owned: RunPartition
    writing: "asyncio.Task[None] | None"
    sealed: Sealed
    render: Callable[[], Rendered]


class Settlement:
    """The batches that are not done with. Records of one partition are sent in the order of their batches."""

    def __init__(self, appender: Appender) -> None:
        self._outbox = Outbox(appender)
        self._under_way: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        self._turn = asyncio.Lock()
        self._failure: Exception | None = None

    def begin(self, decided: Sequence[Decided]) -> "asyncio.Task[None] | None":
        """Settle a batch. What is returned ends when all is sent, or raises; None: there is nothing to wait for."""
        writing = _writing(decided)
        if not writing:
            return None
        task = asyncio.create_task(self._settle(decided, writing))
        self._under_way[task] = None
        task.add_done_callback(self._over)
        return task

    async def only_latest(self) -> None:
        """Wait until all has ended but what has begun last."""
        await _ended(list(self._under_way)[:-1])

    async def finish(self, timeout_seconds: float | None = None) -> None:
        """Wait for all that has begun; how each ends is told by what `begin` returned."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_seconds)

    async def close(self, timeout_seconds: float) -> None:
        """Wait until what has begun has ended, but no longer than this."""
        await self.finish(timeout_seconds)
        closing = asyncio.create_task(self._outbox.close())
        await asyncio.wait({closing}, timeout=timeout_seconds)
        if not closing.done():
            closing.cancel()

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._under_way.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever has it hears of it; when the process ends there may be nobody left

    async def _settle(self, decided: Sequence[Decided], writing: Sequence["asyncio.Task[None]"]) -> None:
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                # After this turn of the loop the broker has what is to be written, and is at it meanwhile.
                await asyncio.sleep(0)
                rendered = [batch.render() for batch in decided]
                await _ended(writing)
                for task in writing:
                    task.result()
            except Exception as error:
                # Another partition's part may be durable and is not sent now: nothing may follow it either.
                self._failure = error
                raise
            for batch in decided:
                batch.owned.durable(batch.sealed)
            outputs = [record for each in rendered for record in each.outputs]
            sent = [self._outbox.submit(outputs)] if outputs else []
            sent.extend(
                batch.owned.summaries.submit(each.summaries)
                for batch, each in zip(decided, rendered, strict=True)
                if each.summaries
            )
        await _ended(sent)
        failures = [failure for outcome in sent if (failure := outcome.exception()) is not None]
        if failures:
            raise failures[0]
        for batch in decided:
            batch.owned.sent(batch.sealed)


async def written(decided: Sequence[Decided]) -> None:
    """Wait until a batch is in the changelog, or is not: that is told by what `Settlement.begin` returned."""
    await _ended(_writing(decided))


def _writing(decided: Sequence[Decided]) -> list["asyncio.Task[None]"]:
    return [batch.writing for batch in decided if batch.writing is not None]


async def _ended(futures: "Sequence[asyncio.Future[Any]]") -> None:
    """Wait until all have ended, however they do. Of most there is one, or they have ended already."""
    for future in futures:
        if not future.done():
            await _end_of(future)


async def _end_of(future: "asyncio.Future[Any]") -> None:
    """As `asyncio.wait` for one, which is two dozen calls more; a lone event waits three times."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    future.add_done_callback(tell)
    try:
        await ended
    finally:
        future.remove_done_callback(tell)
