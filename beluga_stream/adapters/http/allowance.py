"""How much each caller may ask: requests a second, and streams at once."""

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import ResourceExhausted
from .problem import Problem

_CALLERS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one gateway. `rate` is a caller's requests a second, with bursts of as many as in `burst_seconds`."""

    body_bytes: int = 4 * 1024 * 1024
    rate: float = 100.0
    burst_seconds: float = 10.0
    streams_each: int = 1_000
    streams: int = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Allowance:
    """Counts what callers do. The callers that have asked last are remembered."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._streams: Counter[str] = Counter()

    def take(self, caller: str) -> None:
        """One request of a caller. Raises `Problem` 429 that says when there is room again."""
        rate, now = self.limits.rate, time.monotonic()
        most = max(1.0, rate * self.limits.burst_seconds)
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(most, now)
            if len(self._buckets) > _CALLERS_KEPT:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        bucket.left = min(most, bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.left < 1:
            raise _too_much(f"{rate:g} requests a second are allowed", (1 - bucket.left) / rate)
        bucket.left -= 1

    @contextlib.contextmanager
    def stream(self, caller: str) -> Iterator[None]:
        """A stream of a caller, for as long as the block lasts. Raises `Problem` 429."""
        if self._streams[caller] >= self.limits.streams_each:
            raise _too_much(f"{self.limits.streams_each} streams at once are allowed for each caller", 1.0)
        if self._streams.total() >= self.limits.streams:
            raise _too_much(f"this gateway serves {self.limits.streams} streams at once", 1.0)
        self._streams[caller] += 1
        try:
            yield
        finally:
            self._streams[caller] -= 1
            if not self._streams[caller]:
                del self._streams[caller]

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._streams.total()


def _too_much(what: str, seconds: float) -> Problem:
    return Problem(429, ResourceExhausted(f"too much at once: {what}: try later"), retry_after=seconds)
