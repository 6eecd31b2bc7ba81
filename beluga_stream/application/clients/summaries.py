"""The summaries of runs, as `beluga.runs` has them now: of one run, or of all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from ...bounds import within
from ...domain.ids import RunId
from ...domain.retention import FINAL
from ...domain.state import RunStatus
from ...errors import Expired, InvalidState
from ...ports.log import Reader, Record
from .. import codec
from ..messages import Summary
from .catchup import CatchUp

TOLD_WITHIN_SECONDS = 10.0
"""By then the coordinator has told of a run that was asked for, or it refused it, or it is down."""
_AGAIN_SECONDS = 0.1


def check_retry(run: RunId, summary: Summary | None, now_ms: int) -> None:
    """Refuse a retry that would change nothing. A run that goes on may have failed by now: its summary comes later."""
    if summary is None:
        return
    if summary.status in FINAL:
        raise InvalidState(f"run {run} is {summary.status}: only a failed run can be retried", run=run)
    check_remembered(run, summary, now_ms)


def check_remembered(run: RunId, summary: Summary, now_ms: int) -> None:
    """Refuse what is asked of a failed run that cannot be retried, or no more."""
    until_ms = summary.retry_until_ms
    if summary.status != RunStatus.FAILED or until_ms is None:
        return
    if until_ms == summary.ended_ms:
        raise InvalidState(
            f"run {run} has failed and cannot go on: its compensations have undone it, or its state had grown too "
            f"large to be kept; start a new run instead",
            run=run,
        )
    if now_ms > until_ms:
        raise Expired(
            f"run {run} failed longer ago than BELUGA_DEDUP_WINDOW_HOURS, and what a retry needs is kept no longer: "
            f"start a new run, or fork this one",
            run=run,
        )


class Summaries:
    """Reads the topic anew at each call. `partition` tells that of a run. Close it after use."""

    def __init__(
        self,
        reader: Reader,
        topic: str,
        partition: Callable[[RunId], int],
        told_within_seconds: float = TOLD_WITHIN_SECONDS,
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._partition = partition
        self._told_within_seconds = told_within_seconds
        self._told = CatchUp(reader, topic)

    async def close(self) -> None:
        await self._told.close()

    async def newest(self, run: RunId) -> Summary | None:
        """A run's newest; None for one that is not known, or no more."""
        partition = self._partition(run)
        end = (await self._reader.end(self._topic))[partition]
        begin = (await self._reader.beginning(self._topic))[partition]
        newest: Record | None = None
        async with contextlib.aclosing(self._told.records(partition, run.encode(), begin, end)) as batches:
            async for records in batches:
                newest = records[-1]
        return None if newest is None or newest.value is None else codec.summaries.decode(newest.value)

    async def awaited(self, run: RunId) -> Summary | None:
        """The newest of a run that was asked for: its summary is on its way, unless the run was refused."""
        try:
            async with within(self._told_within_seconds):
                while True:
                    summary = await self.newest(run)
                    if summary is not None:
                        return summary
                    await asyncio.sleep(_AGAIN_SECONDS)
        except TimeoutError:
            return None

    async def each(self) -> AsyncIterator[Summary]:
        """Every summary that is there, older ones of a run among them."""
        end = await self._reader.end(self._topic)
        begin = {p: at for p, at in (await self._reader.beginning(self._topic)).items() if at < end[p]}
        if not begin:
            return
        async for records in self._reader.read(self._topic, begin, until={p: end[p] for p in begin}):
            for record in records:
                if record.value is not None:
                    yield codec.summaries.decode(record.value)
