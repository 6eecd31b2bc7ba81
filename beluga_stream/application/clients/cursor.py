"""Cursors: places in a run's stream, as clients keep them."""

import re
from typing import NamedTuple, Self

from ...errors import InvalidInput

LIVE = "live"
"""In the place of a cursor: only what comes from now on."""

_FORM = re.compile(r"(\d{1,9})-(\d{1,18})(?:\.(\d{1,9}))?", re.ASCII)


class Cursor(NamedTuple):
    """After a record of a partition, or with `events` after only so many of the events that it holds.

    Written `partition-offset`, or `partition-offset.events`.
    """

    partition: int
    offset: int
    events: int | None = None

    def __str__(self) -> str:
        whole = f"{self.partition}-{self.offset}"
        return whole if self.events is None else f"{whole}.{self.events}"

    @classmethod
    def parse(cls, text: str, partition: int) -> Self:
        """Raises `InvalidInput` for a garbled cursor, or one of another run's partition."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise InvalidInput(f"{text!r} is no cursor: it must be `partition-offset`, as an event carried it")
        place, offset, events = found.groups()
        if int(place) != partition:
            raise InvalidInput(f"the cursor {text!r} belongs to another run: this one is on partition {partition}")
        return cls(partition, int(offset), None if events is None else int(events))

    def seen(self, offset: int) -> int | None:
        """How many events of the record at this offset lie before the cursor; None: all of them."""
        if offset == self.offset:
            return self.events
        return None if offset < self.offset else 0
