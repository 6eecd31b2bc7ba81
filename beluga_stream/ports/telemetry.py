"""What the engine counts and times."""

from typing import Protocol


class Telemetry(Protocol):
    """Counts runs. `kind` is `graph` or `chain`, `name` the graph's."""

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        """A run of a definition with so many nodes has begun."""

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        """A run has ended, so long after it began."""

    def runs_owned(self, kind: str, name: str, change: int) -> None:
        """So many more runs that go on are this process's; fewer, when it is negative."""

    def stuck(self, reason: str, change: int) -> None:
        """So many more runs, or fewer, wait for this longer than they should."""


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
