"""A run's stream over HTTP as frames: its events, what tells a reader where it is, and the end."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from ...application.clients.answer import Answer, Asked
from ...application.clients.event_json import event_json, kind_of
from ...application.clients.results import Event, RunChanged
from ...application.clients.runs import Runs
from ...domain.ids import RunId
from ...errors import NotFound
from .heard import Heard, Quiet
from .problem import Problem

LIVE, END, CLOSING, PROBLEM = "live", "end", "closing", "problem"
"""What is no event of the run: all that was there has been sent; the stream is over; connect again; it went wrong."""

_RIGHT_AFTER_SECONDS = 0.02
"""An end that all readers wait for follows at once on what was there."""


class Frame(NamedTuple):
    """One thing to send. `cursor` is where the reader may go on after it."""

    kind: str
    data: dict[str, Any]
    cursor: str | None = None


class Wish(NamedTuple):
    """What a reader asks for. `outputs`: with what each node gave, or the one of this name."""

    run: RunId
    after: str | None = None
    asked: Asked = Asked()
    outputs: bool | str = False


class Pace(NamedTuple):
    """Times of a stream, in seconds: between signs of life, and until a run that nobody has heard of is none."""

    heartbeat: float = 15.0
    unknown_after: float = 5.0


async def frames(runs: Runs, wish: Wish, pace: Pace, closing: asyncio.Event) -> AsyncGenerator[Frame | None, None]:
    """Everything to send, up to the end, or until the gateway closes; None is a sign of life.

    Raises `NotFound`, `Expired` and `InvalidInput` before the first frame, when the stream cannot be had, and
    `LogUnavailable` at any time.
    """
    telling = _Telling(runs, wish, pace)
    events = runs.listen(wish.run, after=wish.after, asked=wish.asked)
    async with Heard(events, closing) as heard:
        while not telling.refused:
            event = await heard.next(telling.patience)
            if event is Quiet.OVER:
                break
            if event is Quiet.CLOSED:
                yield Frame(CLOSING, {"message": "the gateway restarts: connect again, with the last cursor"})
                return
            if event is Quiet.SILENT:
                yield await telling.silence()
                continue
            for frame in await telling.frames(event):
                yield frame
    yield Frame(END, {"status": telling.status})


class _Telling:
    """What a reader has been told, and so what an event means to it."""

    def __init__(self, runs: Runs, wish: Wish, pace: Pace) -> None:
        self._runs = runs
        self._load = runs.payloads.load
        self._wish = wish
        self._pace = pace
        self._answer = Answer(wish.run, wish.asked)
        asked = wish.asked.digest or runs.asked(wish.run).digest
        # Who knows of a start has been told that it is durable, by another gateway perhaps: the run will be there.
        self._known = wish.after not in (None, LIVE) or asked is not None
        self._caught_up = False
        """All that was there has come, and the reader does not know yet."""
        self.status: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the start was refused, and no other one followed."""
        return self._answer.refused is not None

    @property
    def patience(self) -> float:
        """How long to wait for the next event (seconds)."""
        if not self._caught_up:
            return self._pace.heartbeat
        return _RIGHT_AFTER_SECONDS if self._known else self._pace.unknown_after

    async def silence(self) -> Frame | None:
        """What to say when that time has passed. Raises `NotFound`."""
        if not self._caught_up:
            return None
        if not self._known and await self._runs.summary(self._wish.run) is None:
            raise NotFound(f"there is no run {self._wish.run} (yet)", run=self._wish.run)
        self._known, self._caught_up = True, False
        return Frame(LIVE, {})

    async def frames(self, event: Event | None) -> list[Frame]:
        """What to send of an event."""
        self._answer.hear(event)
        found: list[Frame] = []
        if event is None:
            self._caught_up = True
        else:
            if self._caught_up:
                found.append(Frame(LIVE, {}))
            self._known, self._caught_up = True, False
            data = await event_json(self._wish.run, event, self._load, outputs=self._wish.outputs)
            self.status = data["status"] if isinstance(event, RunChanged) else self.status
            found.append(Frame(kind_of(event), data, event.cursor))
        if self.refused:
            self.status = "rejected"
        return found


def problem_frame(problem: Problem) -> Frame:
    """What went wrong, for a reader that gets its stream already."""
    return Frame(PROBLEM, problem.document)
