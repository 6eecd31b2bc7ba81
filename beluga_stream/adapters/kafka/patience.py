"""How long a process waits for a broker that does not answer, and what it says meanwhile.

A broker that is away for a minute is no reason to end: nothing is lost by waiting, and a process that ends has to find
everything again. So whatever needs the broker waits, and the process says so in one line now and then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
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


class Watch:
    """Tells that something waits for the broker: soon, and then again and again, until it is `over`."""

    def __init__(self, patience: "Patience", what: str) -> None:
        self._patience = patience
        self._what = what
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._rang = False
        self._next = self._loop.call_later(_SOON_SECONDS, self._ring)

    def over(self, *, answered: bool) -> None:
        """It waits no longer, because the broker has answered or for another reason."""
        self._next.cancel()
        if answered and self._rang:
            self._patience.answered()

    def _ring(self) -> None:
        self._rang = True
        self._next = self._loop.call_later(_AGAIN_SECONDS, self._ring)
        self._patience.tell(self._what, self._began)


class _Wait:
    """One wait for the broker, watched and bounded."""

    def __init__(self, patience: "Patience", what: str) -> None:
        self._patience = patience
        self._what = what

    async def __aenter__(self) -> None:
        self._watch = Watch(self._patience, self._what)
        self._bound = within(self._patience.seconds)
        await self._bound.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.over(answered=kind is None)
        await self._bound.__aexit__(kind, error, trace)


class Patience:
    """Bounds waits for the broker at `where` by `seconds`. All that a process has of one broker share one.

    With `insists=False` what is refused is not tried again: for clients, whose users want to know at once.
    """

    def __init__(self, where: str, seconds: float, *, insists: bool = True) -> None:
        self._where = where
        self._insists = insists
        self.seconds = seconds
        self._told_at: float | None = None
        self._away_since: float | None = None

    def waiting(self, what: str) -> _Wait:
        """What is done inside needs the broker. Raises `TimeoutError` when patience ends."""
        return _Wait(self, what)

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

    def tell(self, what: str, began: float) -> None:
        """Say that `what` waits since `began`, unless somebody has said so."""
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = began
        elif self._told_at is not None and now - self._told_at < _AGAIN_SECONDS / 2:
            return  # somebody else who waits has said it
        self._told_at = now
        away = now - self._away_since
        log.warning(
            "Kafka at %s has not answered for %.0f s (%s): waiting, for %.0f s at most",
            self._where,
            away,
            what,
            self.seconds,
            extra={"action": "broker.away", "seconds": round(away)},
        )

    def answered(self) -> None:
        """Say that the broker is back, if it was away."""
        if self._away_since is None:
            return
        away = asyncio.get_running_loop().time() - self._away_since
        self._away_since = self._told_at = None
        log.warning(
            "Kafka at %s answers again, after %.0f s",
            self._where,
            away,
            extra={"action": "broker.back", "seconds": round(away)},
        )
