"""Drives one role: hands it records in batches, in turn with acquire and release, and acknowledges."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from faust.types import TP

from ...bounds import within
from ...errors import BelugaError, InvalidState, TimedOut
from ...ports.log import Record, Role
from .acks import Acknowledgements

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Records of one partition that one fetch brought, up to `end`. `epoch` says under which ownership.

    Between the last of them and `end` there may be offsets without a record, and before it nothing else.
    """

    tp: TP
    epoch: int
    records: Sequence[Any]
    end: int


class RoleDriver:
    """Calls the role in the order that the port promises, and keeps the first error that ends it.

    Ownership has epochs: `acquire` and `release` each begin a new one, and a batch of an older epoch is
    dropped, to be read again by its next owner. `max_pending` bounds takings that are not yet
    acknowledged, `drain_timeout` (seconds) the role's release, and then the wait for what it settles,
    `acquire_timeout` the recovery.
    """

    def __init__(
        self,
        role: Role,
        group: str,
        *,
        max_pending: int = 64,
        drain_timeout: float = 20.0,
        acquire_timeout: float = 900.0,
    ) -> None:
        self.role = role
        self.group = group
        self.acks = Acknowledgements(max_pending)
        self.owned: frozenset[int] = frozenset()
        self.epoch = 0
        self.failure: BaseException | None = None
        self.on_failure: Callable[[BaseException], None] = _no_one_listens
        self.on_acquired: Callable[[float], None] = _nothing
        self._drain_timeout = drain_timeout
        self._acquire_timeout = acquire_timeout
        self._turn = asyncio.Lock()
        self._acquiring: asyncio.Task[None] | None = None
        self._held: frozenset[int] = frozenset()
        self._delivering = asyncio.Event()
        self._settling: set[asyncio.Future[None]] = set()

    @property
    def delivering(self) -> asyncio.Event:
        """Set while records may be fetched: between a completed acquire and the next release."""
        return self._delivering

    async def acquire(self, partitions: frozenset[int]) -> int | None:
        """Let the role take over; return the new epoch, or None when a release came in between."""
        async with self._turn:
            if self.failure is not None:
                return None
            self._held = partitions
            began = time.monotonic()
            self._acquiring = asyncio.create_task(self.role.acquire(partitions), name=f"acquire-{self.group}")
            done, _ = await asyncio.wait({self._acquiring}, timeout=self._acquire_timeout)
            task, self._acquiring = self._acquiring, None
            if not done:
                task.cancel()
                self.fail(TimedOut(f"{self.group} could not acquire its partitions in {self._acquire_timeout:g} s"))
                return None
            if task.cancelled():
                return None
            error = task.exception()
            if error is not None:
                self.fail(error)
                return None
            self.owned = partitions
            self.epoch += 1
            seconds = round(time.monotonic() - began, 3)
            log.info(
                "%s acquired partitions %s in %g s",
                self.group,
                sorted(partitions),
                seconds,
                extra={
                    "action": "role.acquired",
                    "group": self.group,
                    "partitions": sorted(partitions),
                    "seconds": seconds,
                },
            )
            self.on_acquired(seconds)
            return self.epoch

    def begin(self, epoch: int) -> None:
        """Records may come, if this is still the epoch."""
        if epoch == self.epoch and self.failure is None:
            self._delivering.set()

    async def release(self, commit: Callable[[], Awaitable[object]]) -> None:
        """Stop taking, let the role finish or hand back, wait for what it settles, commit, forget.

        Never raises: what goes wrong here is told to `on_failure`.
        """
        self._delivering.clear()
        self.owned = frozenset()
        self.epoch += 1
        self.acks.wake()
        if self._acquiring is not None:
            self._acquiring.cancel()
        try:
            async with within(self._drain_timeout), self._turn:
                held, self._held = self._held, frozenset()
                if held and self.failure is None:
                    await self.role.release(held)
        except TimeoutError:
            # It may still be at work on partitions that have a new owner in a moment.
            self.fail(TimedOut(f"{self.group} did not release its partitions in {self._drain_timeout:g} s"))
        except Exception as error:  # noqa: BLE001 - whatever it is ends the process
            self.fail(error)
        else:
            await self._drain(held)
        await commit()
        self.acks.clear()

    async def _drain(self, released: frozenset[int]) -> None:
        try:
            async with within(self._drain_timeout):
                await self.acks.drained()
        except TimeoutError:
            # What is not settled is not committed, so its next owner sees it again.
            log.warning(
                "%s gave its partitions up with %d batches unsettled after %g s",
                self.group,
                self.acks.outstanding,
                self._drain_timeout,
                extra={"action": "role.undrained", "group": self.group},
            )
        if released:
            log.info(
                "%s released partitions %s",
                self.group,
                sorted(released),
                extra={"action": "role.released", "group": self.group, "partitions": sorted(released)},
            )

    async def take(self, batches: Sequence[Batch]) -> None:
        """Give the role all of these that are still of this epoch."""
        epoch = self.epoch
        await self.acks.room(lambda: self.epoch != epoch)
        async with self._turn:
            if self.failure is not None or not self._delivering.is_set():
                return
            current = [batch for batch in batches if batch.epoch == self.epoch]
            if not current:
                return
            ends = {batch.tp: batch.end for batch in current}
            records = [
                Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers))
                for batch in current
                for r in batch.records
            ]
            taken = self.acks.take(ends)
            try:
                later = await self.role.handle(records) if records else None
                for (topic, partition), end in self._beyond(current, ends):
                    self.role.passed(topic, partition, end)
            except Exception as error:  # noqa: BLE001 - whatever it is ends the process
                self.fail(error)
                return
            if later is None:
                self.acks.settle(taken)
                return
            future = asyncio.ensure_future(later)
            self._settling.add(future)

            def settled(done: "asyncio.Future[None]") -> None:
                self._settling.discard(done)
                error = asyncio.CancelledError() if done.cancelled() else done.exception()
                if error is None:
                    if self.failure is None:
                        self.acks.settle(taken)
                else:
                    self.fail(error)

            future.add_done_callback(settled)

    @staticmethod
    def _beyond(batches: Sequence[Batch], ends: Mapping[TP, int]) -> list[tuple[TP, int]]:
        """The partitions that end with offsets without a record."""
        told = {batch.tp: batch.records[-1].offset + 1 if batch.records else 0 for batch in batches}
        return [(tp, end) for tp, end in ends.items() if end > told[tp]]

    def fail(self, error: BaseException) -> None:
        """End this role: nothing is acknowledged from here on, and the process must exit."""
        if self.failure is not None:
            return
        self.failure = error
        self._delivering.clear()
        self.acks.freeze()
        log.critical(
            "%s fails and ends its process: %s: %s",
            self.group,
            type(error).__name__,
            error,
            # Ours say all there is to say; a bug needs its traceback.
            exc_info=None if isinstance(error, BelugaError) else error,
            extra={"action": "role.failed", "group": self.group, "error": type(error).__name__},
        )
        self.on_failure(error)


def _nothing(seconds: float) -> None:
    """Nobody times it."""


def _no_one_listens(error: BaseException) -> None:
    raise InvalidState("a role failed before its app was ready to hear of it") from error
