"""A subscriber at work: takes messages from its line, hands them to its handler, and answers for what becomes of them.

Messages of one key are handled one after the other, others beside them. One that fails is tried again, and in the end
kept as a dead letter: only then is it done. What is not done when the process ends comes again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...bounds import in_time, within
from ...domain.retry import RetryPolicy, delay_ms
from ...errors import BelugaError, ExecutionFailed, InvalidInput, LogUnavailable, TimedOut
from ...ports.bus import Carrier, Delivery, Line, Parcel
from ..execution.judging import asked_pause_ms, may_help, said

_GRACE_SECONDS = 5.0
"""How long handlers may go on when their messages are somebody else's soon."""

_AGAIN_SECONDS = 1.0

_FAR = 1_000
"""Most messages that are taken to find some of other keys, while those at hand keep too few handlers at work."""

log = logging.getLogger("beluga_stream.bus")

Handle = Callable[[Parcel, int], Awaitable[Any]]
"""Takes a parcel and which attempt it is. Raises `InvalidInput` for one that fails its type."""

Answer = Callable[[Parcel, Any, BelugaError | None], Awaitable[None]]
"""Replies to a request: with a value, or with what went wrong."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a subscription works: so many at a time, each attempt for so long, tried again so often."""

    concurrency: int
    timeout_seconds: float | None
    policy: RetryPolicy
    on: tuple[type[Exception], ...] | None


@dataclass(eq=False, slots=True)
class _Lane:
    """The messages of one key that wait for each other, and the task that is at work on them."""

    part: int
    waiting: "deque[Delivery]"
    leaving: asyncio.Event
    """Set once they are to be somebody else's."""
    work: "asyncio.Task[None] | None" = None


class Subscribed:
    """See the module. `subscriber` names it in dead letters."""

    def __init__(self, subscriber: str, handle: Handle, answer: Answer, carrier: Carrier, terms: Terms) -> None:
        self.subscriber = subscriber
        self._handle = handle
        self._answer = answer
        self._carrier = carrier
        self._terms = terms
        self._line: Line | None = None
        self._ended: Callable[[Subscribed], object] = _ignore
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(terms.concurrency)
        self._most = terms.concurrency
        self._taken = 0
        self._room = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()

    @property
    def runs_here(self) -> bool:
        """Whether one of its handlers asks."""
        return asyncio.current_task() in self._working

    def begin(self, line: Line, ended: Callable[["Subscribed"], object]) -> None:
        """Take messages from here. `ended` is called once it is closed."""
        self._line = line
        self._most = line.ahead * self._terms.concurrency
        self._ended = ended
        self._pump = asyncio.create_task(self._take(line), name=f"bus-{self.subscriber}")

    async def close(self, grace: float = _GRACE_SECONDS) -> None:
        """Take no more; let handlers end within so many seconds, and cancel those that do not.

        It comes to its end though the caller is cancelled. One of its handlers does not wait for it, and may end.
        """
        if self._pump is None or self._line is None:
            return
        if self._closing is None:
            self.closed.set()
            closing = self._close(self._pump, self._line, grace)
            self._closing = asyncio.create_task(closing, name=f"bus-{self.subscriber}-closing")
        if not self.runs_here:
            await asyncio.shield(self._closing)

    async def _close(self, pump: "asyncio.Task[None]", line: Line, grace: float) -> None:
        pump.cancel()
        await asyncio.wait([pump])
        try:
            await self.release(grace=grace)
        finally:
            await line.close()
            self._ended(self)

    async def release(self, parts: Collection[int] | None = None, grace: float = _GRACE_SECONDS) -> None:
        """Give up what has been taken of these parts, or all.

        What runs may end, within a bound; then it is cancelled, and not done. What waits does not begin.
        """
        lanes = [lane for lane in self._lanes.values() if parts is None or lane.part in parts]
        for lane in lanes:
            lane.leaving.set()
            self._taken -= len(lane.waiting)
            lane.waiting.clear()
        left = {lane.work for lane in lanes if lane.work is not None}
        if left:
            _, left = await asyncio.wait(left, timeout=grace)
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=_GRACE_SECONDS)
        if left:
            log.error("%d handlers of %s ignore that they are cancelled", len(left), self.subscriber)
        self._room.set()

    def _has_room(self, line: Line) -> bool:
        """Whether to take another. A key with many messages must not fill the window, and starve the others behind."""
        if self._taken < self._most:
            return True
        return line.ahead > 1 and len(self._lanes) < self._terms.concurrency and self._taken < _FAR

    async def _take(self, line: Line) -> None:
        while True:
            while not self._has_room(line):
                self._room.clear()
                await self._room.wait()
            try:
                delivery = await line.take()
            except Exception as error:  # whatever it is: nothing else takes messages for this subscriber
                unexpected = None if isinstance(error, BelugaError) else error
                level = logging.WARNING if isinstance(error, LogUnavailable) else logging.ERROR
                told = "%s gets no messages for now: %s"
                log.log(level, told, self.subscriber, error, exc_info=unexpected, extra={"action": "bus.away"})
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if delivery.parcel.only not in (None, self.subscriber):
                line.done(delivery)
                continue
            self._taken += 1
            at = (delivery.part, delivery.parcel.key)
            lane = self._lanes.get(at)
            if lane is not None and not lane.leaving.is_set():
                lane.waiting.append(delivery)
                continue
            self._lanes[at] = lane = _Lane(delivery.part, deque([delivery]), asyncio.Event())
            lane.work = asyncio.create_task(self._work(line, at, lane), name=f"bus-{self.subscriber}-lane")
            self._working.add(lane.work)
            lane.work.add_done_callback(self._working.discard)

    async def _work(self, line: Line, at: tuple[int, str], lane: _Lane) -> None:
        try:
            while lane.waiting and not lane.leaving.is_set():
                delivery = lane.waiting.popleft()
                try:
                    if await self._settled(delivery, lane):
                        line.done(delivery)
                finally:
                    self._taken -= 1
                    self._room.set()
        finally:
            self._taken -= len(lane.waiting)
            lane.waiting.clear()
            if self._lanes.get(at) is lane:
                del self._lanes[at]

    async def _settled(self, delivery: Delivery, lane: _Lane) -> bool:
        """Whether the message is done: handled, or kept as a dead letter. False: it is somebody else's now."""
        parcel, failures = delivery.parcel, 0
        while True:
            try:
                async with self._slots:
                    if lane.leaving.is_set():
                        return False
                    value = await self._attempt(parcel, failures + 1)
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                cancelled = ExecutionFailed("the handler was cancelled from inside")
                cancelled.__cause__ = error
                return await self._refused(delivery, cancelled, lane)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001 - a user's handler may raise anything
                if self.closed.is_set() or _is_cancelled():
                    return False  # what it needed may be closed too
                failures += 1
                if failures >= self._terms.policy.attempts or not self._worth_another(error):
                    return await self._refused(delivery, _judged(error, failures), lane)
                pause = delay_ms(self._terms.policy, failures, parcel.id, asked_ms=asked_pause_ms(error))
                if await _leaves_within(lane, pause / 1000):
                    return False
            else:
                await self._replied(parcel, value, None)
                return True

    async def _attempt(self, parcel: Parcel, number: int) -> Any:
        seconds = self._terms.timeout_seconds
        async with in_time(seconds, lambda: TimedOut(f"the handler took longer than {seconds:g} s")):
            return await self._handle(parcel, number)

    def _worth_another(self, error: BaseException) -> bool:
        return not isinstance(error, InvalidInput | SystemExit) and may_help(error, self._terms.on)

    async def _refused(self, delivery: Delivery, error: BelugaError, lane: _Lane) -> bool:
        """Keep it as a dead letter, however long that takes: until then it is not done."""
        while True:
            try:
                await self._carrier.refuse(delivery, error, self.subscriber)
            except Exception as away:  # whatever it is: the message must not be lost
                unexpected = None if isinstance(away, BelugaError) else away
                level = logging.WARNING if isinstance(away, LogUnavailable) else logging.ERROR
                told = "a dead letter of %s cannot be kept yet: %s"
                log.log(level, told, self.subscriber, away, exc_info=unexpected, extra={"action": "bus.away"})
                if await _leaves_within(lane, _AGAIN_SECONDS):
                    return False
            else:
                break
        log.warning(
            "%s could not take a message of %s: %s",
            self.subscriber,
            delivery.parcel.subject,
            error,
            extra={"action": "bus.dead_letter", "subject": delivery.parcel.subject, "message_id": delivery.parcel.id},
        )
        await self._replied(delivery.parcel, None, error)
        return True

    async def _replied(self, parcel: Parcel, value: Any, error: BelugaError | None) -> None:
        if parcel.reply is None:
            return
        try:
            await self._answer(parcel, value, error)
        except BelugaError as failure:
            # Who asked waits no longer than its timeout; the work itself is done.
            log.warning("a reply to %s was not sent: %s", parcel.subject, failure, extra={"action": "bus.reply"})


async def _leaves_within(lane: _Lane, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with within(seconds):
            await lane.leaving.wait()
    return lane.leaving.is_set()


def _ignore(subscribed: Subscribed) -> None:
    """Nobody asked to be told."""


def _is_cancelled() -> bool:
    """Whether somebody else wants this task to end: its subscriber, and not the handler itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _judged(error: BaseException, attempts: int) -> BelugaError:
    if isinstance(error, BelugaError):
        return error
    if isinstance(error, SystemExit):
        made = ExecutionFailed(f"the handler called sys.exit({error.code!r})")
    else:
        times = f", {attempts} times" if attempts > 1 else ""
        made = ExecutionFailed(f"the handler raised {type(error).__name__}{times}: {said(error)}")
    made.__cause__ = error
    return made
