"""One kind of workflow as its users run it: a durable graph, or a workflow class of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from .workflows import WorkflowState

NO_VALUE: Any = object()
"""What a signal of a class is sent with that has no value, not even None."""


class Started(NamedTuple):
    """A workflow that has begun: its id, and that of this execution of it."""

    workflow_id: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """How a workflow stands. `metadata` is what it was made with.

    `started` is when its first execution began, `run_id` which is the latest, and `events` how long the history of
    that one is: a long history goes on in another execution.
    """

    workflow_id: str
    run_id: str | None
    state: WorkflowState
    started: datetime | None = None
    ended: datetime | None = None
    events: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class WorkflowRunner(Protocol):
    """Runs workflows of one kind. Values are the user's. All raise `LogUnavailable` when nobody answers in time.

    What an engine has no way to do, be it signals, queries, updates or an end from outside, raises `InvalidState`.
    """

    async def start(self, value: Any, workflow_id: str) -> Started:
        """Begin one. Raises `InvalidInput`, and `InvalidState` when the id is taken."""
        raise NotImplementedError

    async def result(self, started: Started) -> Any:
        """Wait for its end.

        Raises `RunFailed`, `TaskCanceled` (also for one that was terminated), `TimedOut`, `NotFound`, and `CodeMissing`
        for one that stands still until other code is deployed.
        """
        raise NotImplementedError

    async def signal(self, started: Started, name: str, value: Any) -> None:
        """Send a signal. Raises `NotFound` for one that has ended or is unknown, and `InvalidInput`.

        The value of a graph's is JSON; a class's without one has `NO_VALUE`.
        """
        raise NotImplementedError

    async def query(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        """Ask it. Raises `NotFound` for an unknown workflow or query, `ExecutionFailed` for one that raises.

        Raises `CodeMissing` for a workflow that stands still until other code is deployed.
        """
        raise NotImplementedError

    async def update(self, started: Started, name: str, arguments: Sequence[Any], update_id: str | None = None) -> Any:
        """Change it and wait for the answer, however long that takes. Raises as `query`.

        What has been asked for before by the same `update_id` is not done again: its answer is given again.
        """
        raise NotImplementedError

    async def cancel(self, started: Started, reason: str) -> None:
        """Ask it to end; it may clean up. Raises `NotFound` for one that has ended or is unknown."""
        raise NotImplementedError

    async def terminate(self, started: Started, reason: str) -> None:
        """End it at once; its handlers are told to stop as soon as they can be. Raises as `cancel`."""
        raise NotImplementedError

    async def describe(self, started: Started) -> Description:
        """How it stands. Raises `NotFound`."""
        raise NotImplementedError

    async def check(self) -> None:
        """Raises what keeps it from running; returns when all is well."""
        raise NotImplementedError
