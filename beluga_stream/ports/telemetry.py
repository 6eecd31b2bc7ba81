"""What the engine counts and times."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, Protocol

TriggerOutcome = Literal["started", "missing", "late", "refused"]
"""What came of an event, or of those that were to start a run together: a run, a window that ended without all of
them, an event that its window does not take, or one that cannot be an input."""


class Lag(NamedTuple):
    """How many records of a partition a consumer group has not yet acknowledged."""

    group: str
    topic: str
    partition: int
    records: int


class Telemetry(Protocol):
    """Counts and times. `kind` is `graph` or `chain`, `name` and `graph` the graph's; times are in seconds."""

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        """A run of a definition with so many nodes has begun."""

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        """A run has ended, so long after it began."""

    def runs_owned(self, kind: str, name: str, change: int) -> None:
        """So many more runs that go on are this process's; fewer, when it is negative."""

    def stuck(self, reason: str, change: int) -> None:
        """So many more runs, or fewer, wait for this longer than they should."""

    def node_began(self, graph: str, waited: float) -> None:
        """A worker has begun a node, so long after the coordinator dispatched it. It counts as in flight."""

    def node_ended(self, graph: str, node: str, *, success: bool, seconds: float) -> None:
        """An execution has come to an outcome."""

    def node_left(self) -> None:
        """What `node_began` told of is in flight no more, whatever came of it."""

    def lease_expired(self, graph: str) -> None:
        """A node's worker is lost."""

    def recovered(self, role: str, seconds: float) -> None:
        """A role has taken its partitions over, and recovered what it keeps of them."""

    def dead_letter(self, role: str, code: str) -> None:
        """A record was refused, with the code of the error."""

    def triggered(self, graph: str, trigger: str, outcome: TriggerOutcome) -> None:
        """A trigger has come to an outcome."""

    def watch_lag(self, lags: Callable[[], Iterable[Lag]]) -> None:
        """Ask this, whenever somebody wants to know, how far behind this process is."""


class NoTelemetry:
    """Counts nothing."""

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        """Nothing."""

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        """Nothing."""

    def runs_owned(self, kind: str, name: str, change: int) -> None:
        """Nothing."""

    def stuck(self, reason: str, change: int) -> None:
        """Nothing."""

    def node_began(self, graph: str, waited: float) -> None:
        """Nothing."""

    def node_ended(self, graph: str, node: str, *, success: bool, seconds: float) -> None:
        """Nothing."""

    def node_left(self) -> None:
        """Nothing."""

    def lease_expired(self, graph: str) -> None:
        """Nothing."""

    def recovered(self, role: str, seconds: float) -> None:
        """Nothing."""

    def dead_letter(self, role: str, code: str) -> None:
        """Nothing."""

    def triggered(self, graph: str, trigger: str, outcome: TriggerOutcome) -> None:
        """Nothing."""

    def watch_lag(self, lags: Callable[[], Iterable[Lag]]) -> None:
        """Nothing."""


NO_TELEMETRY = NoTelemetry()
