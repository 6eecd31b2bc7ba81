"""What the engine counts and times."""

from typing import Protocol


class Telemetry(Protocol):
    """Counts runs. `kind` is `graph` or `chain`, `name` the graph's."""

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        """A run of a definition with so many nodes has begun, or has been taken over."""

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        """A run has ended, so long after it began."""

    def run_released(self, kind: str, name: str) -> None:
        """A run that goes on is another process's now."""


class NoTelemetry:
    """Counts nothing."""

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        """Nothing."""

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        """Nothing."""

    def run_released(self, kind: str, name: str) -> None:
        """Nothing."""
