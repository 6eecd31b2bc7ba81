"""Durable workflows, as the engine asks for them: each call is idempotent, and says so when it cannot be done now."""

from typing import Literal, Protocol, TypeAlias

from ..domain.events import CancelRequested, RetryRequested, RunRequested, SignalReceived
from ..domain.ids import RunId

WorkflowState: TypeAlias = Literal["running", "succeeded", "failed", "cancelled", "terminated", "timed_out", "unknown"]


class Workflows(Protocol):
    """Runs of durable graphs, each a workflow whose id is the run's. All raise `LogUnavailable` when nobody answers."""

    async def start(self, request: RunRequested) -> None:
        """Begin the run. One that was started with its id, whatever has become of it, is left alone.

        Unless an earlier run of its parent's id has started that one: that run is forgotten, and this is another.
        Raises `InvalidState` when a workflow that is not this run has its id, and while the one before it goes on.
        """

    async def signal(self, event: SignalReceived) -> None:
        """Hand a signal over. Raises `NotFound` for a run that has ended or is unknown, whoever else has its id."""

    async def cancel(self, event: CancelRequested) -> None:
        """Ask the run to end. One that has ended or is unknown is left alone, and so is another that has its id."""

    async def retry(self, event: RetryRequested) -> None:
        """Let a run that has failed go on from its failed nodes. Raises `NotFound` for one that is unknown."""

    async def describe(self, run: RunId) -> WorkflowState:
        """How the run stands; `unknown` when there is none."""

    async def close(self) -> None:
        """Let go of what the calls need."""
