"""A rate with bursts, as a pure function of time: the generic cell rate algorithm (ITU-T I.371)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """A call each `interval` (seconds), and up to `burst` at once after a time without."""

    interval: float
    burst: int


def take(due: float, pace: Pace, now: float) -> tuple[float, float]:
    """The next call's theoretical time, and how long this one has to wait (seconds; 0: it may go on).

    `due` is what the last call that went on has left, or anything in the past.
    """
    wait = max(0.0, due - (pace.burst - 1) * pace.interval - now)
    return max(due, now) + pace.interval, wait
