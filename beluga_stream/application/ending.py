"""Which end in a run's stream is the last that its reader waits for."""

from .answer import Asked
from .inner import RunStream


class Ending:
    """Hears how a run stands after each record of its stream. What counts for whom says `Runs.listen`."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._started = 0 if asked.digest is None else asked.started
        self._at = -1
        self._ended = self._final = False
        self._has_answer = False
        self._others = False

    @property
    def is_known(self) -> bool:
        """Whether an end was heard of."""
        return self._at >= 0

    @property
    def is_others(self) -> bool:
        """Whether the run is one that was started with another input, and none with theirs has ended before it."""
        return self._others and not self._has_answer

    def hear(self, reader: RunStream, offset: int) -> None:
        """The stream up to this record."""
        if reader.ended and not self._ended:
            self._at = offset
        self._ended, self._final = reader.ended, reader.final
        self._others = self._asked.is_others(reader.digest)
        self._has_answer = self._has_answer or (self._ended and not self._others)

    def is_over(self, *, past: bool) -> bool:
        """Whether nothing that follows counts. `past`: some of what was there at the call is still to come."""
        if self._others:
            return self._has_answer and not past
        at_once = self._final and self._at >= self._started
        return self._ended and (at_once or not past) and (self._final or self._at >= self._asked.retried)
