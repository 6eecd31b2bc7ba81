"""A bus in this process: port `Carrier` without a broker, with a bounded queue for each subscriber or group."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ...bounds import within
from ...domain.subjects import Pattern
from ...errors import BelugaError, InvalidConfig, InvalidState, NotFound, ResourceExhausted
from ...ports.bus import DeadLetter, Delivery, Parcel, Release

_MOST_LETTERS = 10_000

log = logging.getLogger("beluga_stream.bus")


class _Bell:
    """Wakes all that wait."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def ring(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


@dataclass(eq=False, slots=True)
class _Queued(Delivery):
    number: int = 0


@dataclass(eq=False)
class _Queue:
    """What one subscriber, or one group, has yet to do."""

    pattern: Pattern
    group: str | None
    size: int
    waiting: "deque[_Queued]" = field(default_factory=deque)
    held: "dict[_Queued, MemoryLine]" = field(default_factory=dict)
    keys: "set[str]" = field(default_factory=set)
    lines: "set[MemoryLine]" = field(default_factory=set)
    arrived: _Bell = field(default_factory=_Bell)
    room: _Bell = field(default_factory=_Bell)

    @property
    def is_full(self) -> bool:
        return len(self.waiting) + len(self.held) >= self.size

    @property
    def title(self) -> str:
        if self.group is None:
            return f"a subscriber of {self.pattern.text}"
        return f"group {self.group!r} of {self.pattern.text}" + ("" if self.lines else ", which nobody serves now,")

    @property
    def remedy(self) -> str:
        return "try later" if self.lines else "let somebody serve the group, or `forget` it"

    def next_for(self, line: "MemoryLine") -> _Queued | None:
        """The first whose key nobody is at."""
        for at, one in enumerate(self.waiting):
            if one.parcel.key not in self.keys:
                del self.waiting[at]
                self.held[one] = line
                self.keys.add(one.parcel.key)
                return one
        return None

    def let_go(self, one: _Queued) -> None:
        del self.held[one]
        self.keys.discard(one.parcel.key)

    def leave(self, line: "MemoryLine") -> None:
        """What the line has not done comes first again, in its order."""
        self.lines.discard(line)
        undone = sorted((one for one, holder in self.held.items() if holder is line), key=lambda one: one.number)
        for one in undone:
            self.let_go(one)
        self.waiting = deque(sorted([*undone, *self.waiting], key=lambda one: one.number))
        self.arrived.ring()


class MemoryLine:
    """Port `Line`."""

    ahead = 1

    def __init__(self, queue: _Queue, carrier: "MemoryCarrier") -> None:
        self._queue = queue
        self._carrier = carrier

    async def take(self) -> Delivery:
        while (found := self._queue.next_for(self)) is None:
            await self._queue.arrived.wait()
        return found

    def done(self, delivery: Delivery) -> None:
        if isinstance(delivery, _Queued) and self._queue.held.get(delivery) is self:
            self._queue.let_go(delivery)
            self._queue.room.ring()
            self._queue.arrived.ring()  # its key is free for others

    async def close(self) -> None:
        self._queue.leave(self)
        if self._queue.group is None:
            self._carrier.drop(self._queue)


class MemoryCarrier:
    """Port `Carrier`: a queue holds `queue_size` messages that are not done, and then holds publishers up."""

    where = "this process"

    def __init__(self, queue_size: int = 1_000) -> None:
        if queue_size < 1:
            raise InvalidConfig(f"queue_size={queue_size}: give at least 1, or no message could be on its way")
        self._queue_size = queue_size
        self._queues: list[_Queue] = []
        self._letters: deque[DeadLetter] = deque(maxlen=_MOST_LETTERS)
        self._sent = self._refused = 0
        self._closed = False

    async def start(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Drop what is left; publishers that wait are refused."""
        self._closed = True
        for queue in self._queues:
            queue.room.ring()
        self._queues.clear()

    async def check(self) -> None:
        """It is always well."""

    async def send(self, parcel: Parcel, timeout: float) -> None:  # noqa: ASYNC109 - see the port
        full: _Queue | None = None
        bound = within(timeout)
        try:
            async with bound:
                while (full := next((one for one in self._wanting(parcel) if one.is_full), None)) is not None:
                    await full.room.wait()
                    if self._closed:
                        raise InvalidState("the message bus was closed while a message waited for room in a queue")
        except TimeoutError as error:
            if not bound.expired() or full is None:
                raise
            raise ResourceExhausted(
                f"{full.title} has had no room for {timeout:g} s: {len(full.waiting)} messages wait and "
                f"{len(full.held)} are being handled; nobody got this one; {full.remedy}",
                subject=parcel.subject,
            ) from error
        self._sent += 1
        for queue in self._wanting(parcel):
            queue.waiting.append(_Queued(parcel, f"memory/0/{self._sent}", number=self._sent))
            queue.arrived.ring()

    async def attach(self, pattern: Pattern, group: str | None, subscriber: str, release: Release) -> MemoryLine:
        found = None if group is None else self._of_group(group, pattern)
        if found is None:
            found = _Queue(pattern, group, self._queue_size)
            self._queues.append(found)
        line = MemoryLine(found, self)
        found.lines.add(line)
        return line

    async def keeps(self, group: str, pattern: Pattern) -> bool:
        return self._of_group(group, pattern) is not None

    async def forget(self, group: str, pattern: Pattern) -> None:
        """See the port. Publishers whom it held up go on."""
        queue = self._of_group(group, pattern)
        if queue is None:
            raise NotFound(f"there is no group {group!r} of {pattern.text}")
        if queue.lines:
            raise InvalidState(f"group {group!r} of {pattern.text} has members: close them first")
        self.drop(queue)

    async def refuse(self, delivery: Delivery, error: BelugaError, subscriber: str) -> None:
        parcel = delivery.parcel
        if len(self._letters) == _MOST_LETTERS:
            log.error("the oldest dead letter is dropped: there are %d", _MOST_LETTERS, extra={"action": "bus.letters"})
        kept = replace(parcel, only=subscriber)
        self._refused += 1
        self._letters.append(
            DeadLetter(parcel.subject, subscriber, error.code, str(error), delivery.place, kept, f"0-{self._refused}")
        )

    async def letters(self) -> Sequence[DeadLetter]:
        return list(self._letters)

    async def settle(self, letter: DeadLetter) -> None:
        with suppress(ValueError):  # it may have been settled before
            self._letters.remove(letter)

    def drop(self, queue: _Queue) -> None:
        """Nobody will take from it any more: those whom it held up go on."""
        if queue in self._queues:
            self._queues.remove(queue)
        queue.room.ring()

    def _of_group(self, group: str, pattern: Pattern) -> _Queue | None:
        return next((one for one in self._queues if (one.group, one.pattern) == (group, pattern)), None)

    def _wanting(self, parcel: Parcel) -> list[_Queue]:
        return [queue for queue in self._queues if queue.pattern.matches(parcel.subject)]
