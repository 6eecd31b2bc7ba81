"""Runs that have just begun and wait for their first answer: a measure of how far their work is behind."""

from collections.abc import Sequence

from ...domain.commands import Command, DispatchNode, StartChild
from ...domain.ids import RunId
from ..elapsed import has_elapsed

_FORGOTTEN_MS = 5_000
"""Work that nobody takes (a queue without workers) holds up the starts of others for so long and no longer."""


class Unanswered:
    """The runs of one partition whose first work is sent and not answered, in the order in which they began."""

    def __init__(self) -> None:
        self._since: dict[RunId, int] = {}

    def begun(self, run: RunId, commands: Sequence[Command], now_ms: int) -> None:
        """A run begins. It counts if it has work for others at once, and does not only wait."""
        if any(isinstance(command, DispatchNode | StartChild) for command in commands):
            self._since[run] = now_ms

    def heard(self, run: RunId) -> None:
        """Something has happened to the run."""
        self._since.pop(run, None)

    def count(self, now_ms: int) -> int:
        """How many there are now; those that have waited for too long are forgotten."""
        while self._since:
            run, since = next(iter(self._since.items()))
            if not has_elapsed(since, now_ms, _FORGOTTEN_MS):
                break
            del self._since[run]
        return len(self._since)
