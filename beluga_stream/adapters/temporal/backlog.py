"""Work of a durable run that is not given to workers yet: there are bounds, and a new execution may be about to begin.

Temporal refuses a workflow that asks for too much at once, and asks it again for ever. So what is asked for at a time
is bounded in number and in bytes, and so is what is under way. Deterministic: the interpreter says what the time is.
"""

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from ...application.messages import NodeReady

MOST_AT_ONCE = 1_000
"""Executions of one run that are under way; the server takes 2,000."""

_STEP = 100
_STEP_BYTES = 1_000_000
"""How many more executions one workflow task asks for, and of how many bytes: it may take two seconds and 4 MiB."""

MOST_BYTES = 2 * 1024 * 1024 - 4 * 1024
"""Of one execution: the server keeps 2 MiB of an input, with what is around the work."""

_HOLD_MS = 10_000
_LONGEST_HOLD_MS = 3_600_000
_HOLD_AGAIN = 500
"""How long work is held back at first, how long at most, and after how much more history again."""


class Backlog:
    """Work in the order in which it was decided. While it is held back none is given out."""

    def __init__(self) -> None:
        self._works: deque[tuple[NodeReady, int]] = deque()
        self._pause_ms = _HOLD_MS
        self._next_hold = 0
        self.held_until_ms: int | None = None

    @property
    def works(self) -> tuple[NodeReady, ...]:
        """All that waits."""
        return tuple(work for work, _ in self._works)

    def add(self, works: Iterable[NodeReady]) -> None:
        """More work, after what is there."""
        self._works.extend((work, len(msgspec.json.encode(work))) for work in works)

    def drop(self, is_meant: Callable[[NodeReady], bool]) -> None:
        """Forget what nobody wants any more."""
        self._works = deque(each for each in self._works if not is_meant(each[0]))

    def overlong(self) -> list[tuple[NodeReady, int]]:
        """What nobody can be given, with its bytes: taken out of the others."""
        found = [each for each in self._works if each[1] > MOST_BYTES]
        if found:
            self._works = deque(each for each in self._works if each[1] <= MOST_BYTES)
        return found

    def has_room(self, under_way: int) -> bool:
        """Whether there is work that may be given out, now or at the next step."""
        return bool(self._works) and self.held_until_ms is None and under_way < MOST_AT_ONCE

    def take(self, under_way: int) -> list[NodeReady]:
        """What is given out in this step, while so much is under way. One alone may be of any length."""
        taken: list[NodeReady] = []
        size = 0
        while self.has_room(under_way + len(taken)) and len(taken) < _STEP:
            size += self._works[0][1]
            if taken and size > _STEP_BYTES:
                break
            taken.append(self._works.popleft()[0])
        return taken

    def may_hold(self, history: int) -> bool:
        """Whether so many events of history are enough to hold work back (again)."""
        return history >= self._next_hold

    def hold(self, now_ms: int) -> int:
        """Hold it back, and return until when: each time twice as long, so that long executions end meanwhile."""
        self.held_until_ms = now_ms + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, _LONGEST_HOLD_MS)
        return self.held_until_ms

    def let_go(self, history: int) -> None:
        """Hold no more for a while: what is under way may be waiting for what is held."""
        self.held_until_ms = None
        self._next_hold = history + _HOLD_AGAIN
