"""The deadlines of one owned partition's runs: which have passed, and which are to be told again.

One counts as long as its run's state holds it, and is watched for so long: a log that has lost the event of it would
else keep its run waiting until the partition has another owner.
"""

import heapq
from collections import deque
from collections.abc import Container, Iterable, Iterator

from ...domain.ids import RunId
from ...domain.state import RunState, Timer
from .states import States

TOLD_AGAIN_MS = 30_000
"""What time does is told again after so long, unless it has been heard: an event that comes twice changes nothing."""

_FEW = 4_096


class Timers:
    """A heap of deadlines, and those that were told. `runs` are the partition's that go on, `states` all of them."""

    def __init__(self, runs: Container[RunId], states: States) -> None:
        self._runs = runs
        self._states = states
        self._heap: list[Timer] = []
        self._most = _FEW
        self._told: deque[tuple[int, Timer]] = deque()
        """Each with the time when it is told again; the first one first."""

    def __len__(self) -> int:
        """How many have not been told."""
        return len(self._heap)

    def __iter__(self) -> Iterator[Timer]:
        """All that are watched, those that were told too."""
        yield from self._heap
        yield from (timer for _, timer in self._told)

    def put(self, timers: Iterable[Timer]) -> None:
        """Watch these, too."""
        for timer in timers:
            heapq.heappush(self._heap, timer)
        if len(self._heap) > self._most:
            self._sweep()

    def due(self, now_ms: int, most: int) -> list[Timer]:
        """Take those that have passed, or were told so long ago, and still stand in their run's state.

        It looks at `most` of them: each may have to be read from the table.
        """
        found: list[Timer] = []
        while self._heap and self._heap[0].due_ms <= now_ms and len(found) < most:
            found.append(heapq.heappop(self._heap))
        while self._told and self._told[0][0] <= now_ms and len(found) < most:
            found.append(self._told.popleft()[1])
        return [timer for timer in found if self.holds(timer)]

    def told(self, timer: Timer, now_ms: int) -> None:
        """An event says that it has passed."""
        self._told.append((now_ms + TOLD_AGAIN_MS, timer))

    def holds(self, timer: Timer) -> bool:
        """Whether it still stands in its run's state."""
        state = self._states.get(timer.run) if timer.run in self._runs else None
        return state is not None and _stands(state, timer)

    def _sweep(self) -> None:
        """Forget the deadlines of what is over: most runs end long before theirs. A run that rests keeps its own."""
        self._heap = [
            timer
            for timer in self._heap
            if timer.run in self._runs and ((state := self._states.at_hand(timer.run)) is None or _stands(state, timer))
        ]
        heapq.heapify(self._heap)
        self._most = max(_FEW, 2 * len(self._heap))


def _stands(state: RunState, timer: Timer) -> bool:
    if timer.node is None:
        return state.due_ms == timer.due_ms
    node = state.nodes.get(timer.node)
    return node is not None and node.attempt == timer.attempt and node.due_ms == timer.due_ms
