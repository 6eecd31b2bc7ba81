"""What `control` tells workers: which attempts are cancelled, and which are begun and no longer anybody's to begin."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ...domain.ids import RunId, attempt_key
from ...errors import BelugaError
from ...ports.log import Outgoing, Reader, Record
from .. import codec
from ..messages import BegunNotice, CancelNotice, NodeReady

log = logging.getLogger("beluga_stream.worker")

_KEPT = 100_000
"""Most runs with cancels, and most begun attempts, that are remembered; the oldest give way."""


class Notices:
    """Reads the topic up to its end before work is taken, then follows it. `on_cancel` hears of each run with news."""

    def __init__(self, topic: str, reader: Reader, on_cancel: Callable[[RunId], None]) -> None:
        self._topic = topic
        self._reader = reader
        self._on_cancel = on_cancel
        self._cancels: OrderedDict[RunId, tuple[int, dict[str, int]]] = OrderedDict()
        """For each run the generation below which all is cancelled, and single attempts up to theirs."""
        self._begun: OrderedDict[tuple[RunId, str], int | None] = OrderedDict()
        self._offset: int | None = None

    async def catch_up(self) -> None:
        """Know all that is in the topic now."""
        end = (await self._reader.end(self._topic))[0]
        begin = self._offset
        if begin is None:
            begin = (await self._reader.beginning(self._topic))[0]
        if begin < end:
            async for records in self._reader.read(self._topic, {0: begin}, until={0: end}):
                self.take(records)
        self._offset = max(begin, end)

    async def follow(self) -> None:
        """Take what comes, for ever."""
        if self._offset is None:
            self._offset = (await self._reader.beginning(self._topic))[0]
        async for records in self._reader.read(self._topic, {0: self._offset}):
            self.take(records)
            if records:
                self._offset = records[-1].offset + 1

    def take(self, records: Sequence[Record]) -> None:
        """Learn from these."""
        for record in records:
            try:
                notice = codec.control.decode(record.value)
            except BelugaError as error:
                log.warning("ignored a control record: %s", error, extra={"action": "control"})
                continue
            if isinstance(notice, BegunNotice):
                self._begun[notice.run, notice.attempt] = notice.generation
                if len(self._begun) > _KEPT:
                    self._begun.popitem(last=False)
            else:
                self._cancel(notice)

    def is_cancelled(self, work: NodeReady) -> bool:
        """Whether the work must not run, or not go on."""
        cancelled = self._cancels.get(work.run)
        if cancelled is None:
            return False
        generation, attempts = cancelled
        return work.generation < generation or work.generation <= attempts.get(_attempt(work), -1)

    def is_begun(self, work: NodeReady) -> bool:
        """Whether some worker has begun this attempt under a lease, before it ran."""
        generation = self._begun.get((work.run, _attempt(work)), -1)
        return generation is None or work.generation <= generation

    def begun(self, work: NodeReady) -> Outgoing:
        """The record that tells every worker so."""
        notice = BegunNotice(run=work.run, attempt=_attempt(work), generation=work.generation)
        return Outgoing(self._topic, None, codec.control.encode(notice), partition=0)

    def _cancel(self, notice: CancelNotice) -> None:
        generation, attempts = self._cancels.pop(notice.run, (0, {}))
        attempts.update(dict.fromkeys(notice.attempts, notice.generation))
        if not notice.attempts:
            generation = max(generation, notice.generation)
        self._cancels[notice.run] = (generation, attempts)
        if len(self._cancels) > _KEPT:
            self._cancels.popitem(last=False)
        self._on_cancel(notice.run)


def _attempt(work: NodeReady) -> str:
    return attempt_key(work.node, work.attempt)
