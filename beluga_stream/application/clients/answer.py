"""What a run's stream says to somebody who waits for the run: its end, or that its start was refused."""

from dataclasses import dataclass

from ...domain.events import Failure
from ...domain.ids import RunId
from ...domain.state import RUN_ENDED, RunStatus
from ...errors import IdempotencyConflict, NotFound, ResourceExhausted, RunFailed, RunRejected, TaskCanceled, TimedOut
from .results import Event, RunChanged, StartRejected


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for a run: its input's digest, and where its stream ended before its start and retry.

    A refusal from before the start, or an end from before the retry, is no answer.
    """

    digest: str | None = None
    started: int = 0
    retried: int = 0

    def is_others(self, digest: str | None) -> bool:
        """Whether a run that was started with the input of this digest is not the one that was asked for.

        Its key was given with another input; what answers that is a refusal, or another run under its id.
        """
        return None not in (self.digest, digest) and self.digest != digest


class Answer:
    """Hears a run's stream and says what it comes to."""

    def __init__(self, run: RunId, asked: Asked) -> None:
        self._run = run
        self._asked = asked
        self._past = True
        self._is_known = False
        self.undone = False
        """Whether what the run had done is undone: nothing goes on from it then."""
        self._ended: RunChanged | None = None
        self._refused: StartRejected | None = None

    def hear(self, event: Event | None) -> None:
        """The next event; None when all that was there has been given."""
        self._is_known = self._is_known or event is not None
        if event is None:
            self._past = False
        elif isinstance(event, StartRejected):
            if self._is_answer(event):
                self._refused = event
        elif isinstance(event, RunChanged) and not self._asked.is_others(event.digest):
            # What was refused once may have been started later.
            self._refused, self._ended = None, event if event.ended else None
            self.undone = is_undone(event.status, self.undone)

    @property
    def refused(self) -> StartRejected | None:
        """The refusal that is the answer; none as long as a later start may follow it in the log.

        When the key was refused because another input has it, nothing follows: the run is there.
        """
        if self._past and self._refused is not None and self._refused.code != IdempotencyConflict.code:
            return None
        return self._refused

    @property
    def ended(self) -> RunChanged:
        """The run's end. Raises `NotFound` when the stream stopped without it."""
        if self._ended is None:
            raise NotFound(f"the stream of run {self._run} ended before the run did", run=self._run)
        return self._ended

    def late(self, timeout_seconds: float | None) -> TimedOut:
        """What is raised when that time is over."""
        told = f"run {self._run} did not end within {timeout_seconds:g} s"
        more = "it goes on" if self._is_known else "nothing was heard of it: is its id right, and an engine running?"
        return TimedOut(f"{told}; {more}", run=self._run)

    def check(self) -> None:
        """Raise `RunRejected` when the start was refused."""
        if self.refused is not None:
            raise RunRejected(self.refused.message, reason=self.refused.code, run=self._run)

    def _is_answer(self, event: StartRejected) -> bool:
        """Whether a refusal is for the caller: for their input, and since they started it.

        A caller who did not start the run hears of no refusal but those that left no run behind.
        """
        if self._asked.digest is None:
            return event.code != IdempotencyConflict.code
        return event.digest == self._asked.digest and offset_of(event.cursor) >= self._asked.started


def offset_of(cursor: str) -> int:
    """The offset in a cursor that an event carries."""
    return int(cursor.partition("-")[2].partition(".")[0])


def is_undone(status: str, before: bool) -> bool:  # noqa: FBT001 - reads as a sentence
    """Whether a run of this status is undone, if it was so `before`: the end that follows tells no more of it."""
    return status == RunStatus.COMPENSATING or (before and status in RUN_ENDED)


def _failed(run: RunId, failure: Failure | None, *, undone: bool) -> str:
    """What is told of a run that failed, and how it goes on, where it can."""
    told = f"run {run} failed: {'failed' if failure is None else failure.message}"
    if failure is not None and failure.node is None and failure.code == ResourceExhausted.code:
        return told  # its state has grown too large to be kept: nothing goes on from it, and it says what to do
    if undone:
        return f"{told}. What it had done is undone: start a new run"
    return f"{told}. `beluga runs retry {run}` goes on from the failed nodes"


def check_ended(run: RunId, event: RunChanged, *, undone: bool) -> None:
    """Raise what an end other than success means. For an `undone` run it advises no retry."""
    if event.status == "succeeded":
        return
    failure = event.failure
    if event.status == "cancelled":
        message = failure.message if failure is not None else event.status
        raise TaskCanceled(f"run {run} was cancelled: {message}", run=run)
    raise RunFailed(
        _failed(run, failure, undone=undone),
        reason=failure.code if failure is not None else "execution_failed",
        run=run,
        node=None if failure is None else failure.node,
        attempt=None if failure is None else failure.attempt,
    )
