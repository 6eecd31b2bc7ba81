"""Which end in a run's stream is the last that its reader waits for."""

from .answer import Asked
from .inner import RunStream


class Ending:
    """Hears how a run stands after each record of its stream, for somebody who has asked something for the run.

    A failed run may have been retried since: its end counts only once all of the past has been heard, and only if it
    lies behind the retry that was asked for. An end from before the start that was asked for counts only then, too:
    the refusal of that start may lie behind it. The end of a run that was started with another input never counts: the
    refusal comes.
    """

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
