"""Whether the coordinator wants more starts: not at capacity, nor while what it has just begun is unanswered."""

import logging
from collections.abc import Iterable

from .partition import RunPartition

_ENOUGH_AGAIN = 0.9
"""Starts held back at capacity are taken again below this part of it."""

log = logging.getLogger("beluga_stream.coordinator")


class Intake:
    """At most `capacity` runs go on at a time, and `unanswered` (and a few batches) wait for their first answer."""

    def __init__(self, capacity: int, unanswered: int) -> None:
        self._capacity = capacity
        self._unanswered = unanswered
        self._is_full = False

    def is_open(self, owned: Iterable[RunPartition], now_ms: int) -> bool:
        """Whether these partitions take more starts now. Tells of it when capacity is reached, and free again."""
        active = waiting = 0
        for partition in owned:
            active += len(partition.runs)
            waiting += partition.unanswered.count(now_ms)
        full = active >= self._capacity * (_ENOUGH_AGAIN if self._is_full else 1)
        if full != self._is_full:
            self._is_full = full
            log.warning(
                "%s at %d active runs",
                "starts are held back" if full else "starts are taken again",
                active,
                extra={"action": "capacity", "active": active, "full": full},
            )
        return not full and waiting <= self._unanswered
