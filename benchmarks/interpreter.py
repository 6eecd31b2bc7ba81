"""How fast this Python is, on this machine, at this moment: the yardstick for all that the engine computes.

Builds of one version differ by half: `pyenv install` leaves out the optimisations that the Pythons of distributions, of
python.org and of Docker have. And the processors of a shared machine are not always as fast.
"""

import time

from benchmarks.figures import Figure, shown

_TURNS = 60_000
_TRIES = 3


class Interpreter:
    """Does the same piece of work at several moments of a measurement."""

    def __init__(self) -> None:
        self._found: list[float] = []

    def measure(self) -> None:
        """The best of some tries, a tenth of a second in all."""
        self._found.append(min(_milliseconds() for _ in range(_TRIES)))

    def figure(self) -> Figure:
        """Milliseconds for the piece of work: the median of those moments."""
        note = f"{_TURNS:,} turns of calls, attributes, dicts and texts; in turn {', '.join(map(shown, self._found))}"
        return Figure("yardstick: plain Python", sorted(self._found)[len(self._found) // 2], "ms", note=note)


class _Thing:
    __slots__ = ("number", "text")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text

    def added(self, number: int) -> int:
        return self.number + number


def _milliseconds() -> float:
    began = time.perf_counter()
    known: dict[int, tuple[int, str]] = {}
    total = 0
    for turn in range(_TURNS):
        thing = _Thing(turn, str(turn % 10))
        total += thing.added(1)
        known[turn % 100] = (thing.number, thing.text)
        total += len([each for each in known[turn % 100] if isinstance(each, str)])
    seconds = time.perf_counter() - began
    assert total > _TURNS
    return seconds * 1e3
