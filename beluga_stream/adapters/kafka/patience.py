"""How long a process waits for a broker that does not answer, and what it says meanwhile.

A broker that is away for a minute is no reason to end: nothing is lost by waiting, and a process that ends has to find
everything again. So whatever needs the broker waits, and the process says so in one line now and then.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiokafka.errors import KafkaError, KafkaTimeoutError

from ...bounds import within

T = TypeVar("T")

log = logging.getLogger(__name__)

_SOON_SECONDS = 5.0
"""A wait that is longer than this is worth a line."""

_AGAIN_SECONDS = 30.0
_BACKOFF_SECONDS = 0.1, 1.0
"""The first pause and the longest one between two attempts."""


class Wait:
    """One wait for the broker, bounded by the patience that it was begun by."""

    __slots__ = ("began", "give_up", "what")

    def __init__(self, what: str, began: float, give_up: Callable[[], object]) -> None:
        self.what = what
        self.began = began
        self.give_up = give_up


class Patience:
    """Bounds waits for the broker at `where` by `seconds`. All that a process has of one broker share one.

    With `insists=False` what is refused is not tried again: for clients, whose users want to know at once.

    There is a wait around every write, and nearly all are over in a moment. So one timer watches over all of them: the
    oldest is the first that there is something to say about, and the first that is given up.
    """

    def __init__(self, where: str, seconds: float, *, insists: bool = True) -> None:
        self.where = where
        self._insists = insists
        self.seconds = seconds
        self._waits: dict[Wait, None] = {}
        """Those that are not over, the oldest first."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.TimerHandle | None = None
        self._told_at: float | None = None
        self._away_since: float | None = None

    def begin(self, what: str, give_up: Callable[[], object]) -> Wait:
        """Something waits for the broker: to be ended by `over`, and before by `give_up` when patience ends."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What another one left behind is over with it, and its timer rings no more.
            self._waits.clear()
            self._loop, self._look = loop, None
        wait = Wait(what, loop.time(), give_up)
        self._waits[wait] = None
        if self._look is None:
            self._look_at(wait.began + min(_SOON_SECONDS, self.seconds))
        return wait

    def over(self, wait: Wait, *, answered: bool) -> None:
        """It waits no longer, because the broker has answered or for another reason."""
        self._waits.pop(wait, None)
        if answered and self._away_since is not None and (not self._waits or self._age(wait) >= _SOON_SECONDS):
            # While others wait, a short one may have gone to another broker.
            self._answered(self._away_since)

    async def answer(self, what: str, coming: "asyncio.Future[T]") -> T:
        """What comes of it. Raises what it fails with, or `TimeoutError` when patience ends, which cancels it."""
        wait = self.begin(what, coming.cancel)
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        try:
            found = await coming
        except asyncio.CancelledError:
            if wait in self._waits or (task is not None and task.cancelling() > before):
                raise  # its caller has been cancelled, at the end of patience perhaps
            raise TimeoutError from None
        finally:
            answered = coming.done() and not coming.cancelled() and coming.exception() is None
            self.over(wait, answered=answered)
        return found

    @asynccontextmanager
    async def waiting(self, what: str) -> AsyncGenerator[None, None]:
        """What is done inside needs the broker. Raises `TimeoutError` when patience ends."""
        answered = False
        async with within(self.seconds):
            wait = self.begin(what, _by_its_bound)
            try:
                yield
                answered = True
            finally:
                self.over(wait, answered=answered)

    async def insist(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call it again and again while it fails by what may pass. Raises its last error, or `TimeoutError`."""
        pause, most = _BACKOFF_SECONDS
        async with self.waiting(what):
            while True:
                try:
                    return await call()
                except KafkaError as error:
                    if not (self._insists and (error.retriable or isinstance(error, KafkaTimeoutError))):
                        raise
                except OSError:
                    if not self._insists:
                        raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, most)

    def _look_at(self, moment: float) -> None:
        self._look = asyncio.get_running_loop().call_at(moment, self._look_after)

    def _look_after(self) -> None:
        """Give up what has waited for too long, tell of what waits for long, and look again when there is cause to."""
        self._look = None
        now = asyncio.get_running_loop().time()
        for wait in list(self._waits):
            if now < wait.began + self.seconds:
                break
            del self._waits[wait]
            wait.give_up()
        oldest = next(iter(self._waits), None)
        if oldest is None:
            return
        tells_at = oldest.began + _SOON_SECONDS
        if self._told_at is not None:
            tells_at = max(tells_at, self._told_at + _AGAIN_SECONDS)
        if now >= tells_at:
            self._tell(oldest, now)
            tells_at = now + _AGAIN_SECONDS
        # Soon in any case: the broker may be back by then, and away once more.
        self._look_at(min(tells_at, now + _SOON_SECONDS, oldest.began + self.seconds))

    def _age(self, wait: Wait) -> float:
        return asyncio.get_running_loop().time() - wait.began

    def _tell(self, oldest: Wait, now: float) -> None:
        """Say since when the broker is away."""
        if self._away_since is None:
            self._away_since = oldest.began
        self._told_at = now
        away = now - self._away_since
        log.warning(
            "Kafka at %s has not answered for %.0f s (%s): waiting, for %.0f s at most",
            self.where,
            away,
            oldest.what,
            self.seconds,
            extra={"action": "broker.away", "seconds": round(away)},
        )

    def _answered(self, away_since: float) -> None:
        """Say that the broker is back."""
        away = asyncio.get_running_loop().time() - away_since
        self._away_since = self._told_at = None
        log.warning(
            "Kafka at %s answers again, after %.0f s",
            self.where,
            away,
            extra={"action": "broker.back", "seconds": round(away)},
        )


def _by_its_bound() -> None:
    """It ends by a bound of its own."""
