"""What a run gave, from the frames of its whole stream: for whoever waits for it, at either end."""

from typing import Any

from ...application.clients.answer import check_ended, is_undone
from ...application.clients.event_json import event_of
from ...application.clients.results import RunChanged
from ...domain.ids import RunId
from ...domain.payload import Json
from ...errors import LogUnavailable, NotFound, RunRejected
from .problem import error_of_code
from .stream import CLOSING, END, Frame


class Result:
    """Hears the frames, and says what they come to."""

    def __init__(self, run: RunId) -> None:
        self._run = run
        self._ended: dict[str, Any] | None = None
        self._undone = False
        self._refused: dict[str, Any] | None = None
        self._status: str | None = None

    def hear(self, frame: Frame | None) -> None:
        """The next frame. Raises `LogUnavailable` when the gateway closes."""
        if frame is None:
            return
        match frame.kind:
            case "run":
                self._ended = frame.data
                self._undone = is_undone(frame.data["status"], self._undone)
            case "rejected":
                self._refused = frame.data
            case kind if kind == END:
                self._status = frame.data["status"]
            case kind if kind == CLOSING:
                raise LogUnavailable("the gateway restarts: ask again", run=self._run)
            case _:
                pass

    @property
    def is_told(self) -> bool:
        """Whether the stream has said how it ended, in this connection or one before it was cut."""
        return self._status is not None or self._ended is not None

    def value(self) -> Json:
        """The run's output. Raises `RunRejected`, `RunFailed`, `TaskCanceled` and `NotFound`."""
        if self._status == "rejected" and self._refused is not None:
            raise RunRejected(self._refused["message"], reason=self._refused["code"], run=self._run)
        event = None if self._ended is None else event_of(self._ended)
        if not isinstance(event, RunChanged) or not event.ended or self._ended is None:
            raise NotFound(f"the stream of run {self._run} ended before the run did", run=self._run)
        check_ended(self._run, event, undone=self._undone)
        return output_of(self._run, self._ended)


def output_of(run: RunId, told: dict[str, Any]) -> Json:
    """The output that an event tells. Raises what it says when it cannot be had."""
    if "output_error" in told:
        lost = told["output_error"]
        message = f"an output of run {run} cannot be had: {lost['message']}"
        raise error_of_code(lost["code"], message, run=run)
    return told.get("output")
