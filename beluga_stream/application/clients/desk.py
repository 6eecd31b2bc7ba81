"""What a client asks of the engine, whichever way it reaches it: through the log, or through the HTTP gateway."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from ...domain.ids import RunId
from ...domain.payload import Inline, Json, Payload
from ..messages import Summary
from .answer import Asked
from .results import Event


class Desk(Protocol):
    """Starts and follows runs; speaks JSON and ids. `Runs` is the one over the log, and says what each means."""

    async def start(
        self,
        graph: str,
        value: Json,
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_ms: int | None = None,
    ) -> RunId:
        """Request a run; returns its id once the request is durable. The same key is the same run.

        With `timeout_ms` it may not take as long as its graph allows: it fails then, and is undone.
        """

    async def fork(
        self, run: RunId, node: str, *, edited: Inline | None = None, idempotency_key: str | None = None
    ) -> RunId:
        """Request a run that goes on from another one at a node, perhaps with an edited input of the node."""

    async def cancel(self, run: RunId, reason: str = "") -> None:
        """Ask for the run's end."""

    async def retry(self, run: RunId) -> None:
        """Let a failed run go on. Raises `InvalidState` or `Expired` where it is known that it cannot."""

    async def override(
        self, run: RunId, node: str, *, timeout_ms: int | None = None, attempts: int | None = None
    ) -> None:
        """Give a node of a run that goes on, or may be retried, another timeout or number of attempts."""

    async def signal(
        self,
        run: RunId,
        signal: str,
        value: Json,
        *,
        id: str | None = None,  # noqa: A002 - the field's name
        checked: bool = False,
    ) -> None:
        """Send a signal; the same `id` twice is one signal.

        With `checked` what a known run cannot take is refused here: `NotFound` for its name, `InvalidInput` for its
        value. A gateway always checks.
        """

    def asked(self, run: RunId) -> Asked:
        """What was asked for this run here; nothing, for a run of others."""

    def follow(
        self, run: RunId, *, after: str | None = None, asked: Asked | None = None
    ) -> AsyncGenerator[Event, None]:
        """The run's events from its beginning, after a cursor or from now on (`live`), up to its end.

        Or up to the refusal of its start, if that is the answer to the caller: by default to what was asked here last.
        """

    def listen(
        self, run: RunId, *, after: str | None = None, asked: Asked | None = None
    ) -> AsyncGenerator[Event | None, None]:
        """As `follow`; None says that all which was there at the call has been given."""

    async def load(self, payload: Payload) -> Json:
        """The value of an output that one of its events carries. Raises `NotFound` for one that is kept no longer."""

    async def result(self, run: RunId, *, timeout_seconds: float | None = None, asked: Asked | None = None) -> Json:
        """Wait for the run's end. Raises `RunFailed`, `TaskCanceled`, `RunRejected` or `TimedOut`."""

    async def outputs(self, run: RunId, node: str, *, asked: Asked | None = None) -> Json:
        """What a node has given. Raises `NotFound` when the run ended without it."""

    async def summary(self, run: RunId) -> Summary | None:
        """The newest summary of a run."""

    async def summaries(self) -> Sequence[Summary]:
        """The newest summary of every run that is remembered, oldest start first."""
