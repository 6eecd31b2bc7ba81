"""What an orchestrator has run so far, as one typed snapshot."""

from collections import deque
from dataclasses import dataclass, field

_REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class KindMetrics:
    """Runs of one kind. `executions` have ended, `errors` of them without a result. Durations in seconds.

    The percentiles are of the last 1,024 runs that ended; 0 before the first.
    """

    active: int = 0
    executions: int = 0
    errors: int = 0
    mean_seconds: float = 0.0
    p50_seconds: float = 0.0
    p95_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """What goes on and what has been, since the orchestrator was made."""

    chains: KindMetrics = field(default_factory=KindMetrics)
    graphs: KindMetrics = field(default_factory=KindMetrics)
    workflows: KindMetrics = field(default_factory=KindMetrics)

    @property
    def active_chains(self) -> int:
        """Runs of chains that go on."""
        return self.chains.active

    @property
    def active_graphs(self) -> int:
        """Runs of graphs that go on."""
        return self.graphs.active

    @property
    def active_workflows(self) -> int:
        """Runs of workflows that go on."""
        return self.workflows.active

    @property
    def executions(self) -> int:
        """All runs that have ended."""
        return self.chains.executions + self.graphs.executions + self.workflows.executions

    @property
    def errors(self) -> int:
        """Those that ended without a result: failed, timed out or cancelled."""
        return self.chains.errors + self.graphs.errors + self.workflows.errors


class Tally:
    """Counts the runs of one kind."""

    def __init__(self) -> None:
        self._active = 0
        self._executions = 0
        self._errors = 0
        self._seconds = 0.0
        self._last: deque[float] = deque(maxlen=_REMEMBERED)

    def started(self) -> None:
        """A run has begun."""
        self._active += 1

    def ended(self, *, success: bool, seconds: float) -> None:
        """A run that had begun has ended."""
        self._active -= 1
        self._executions += 1
        self._errors += not success
        self._seconds += seconds
        self._last.append(seconds)

    def left(self) -> None:
        """A run that had begun goes on, and is counted here no more."""
        self._active -= 1

    def snapshot(self) -> KindMetrics:
        """How it stands."""
        last = sorted(self._last)
        return KindMetrics(
            active=self._active,
            executions=self._executions,
            errors=self._errors,
            mean_seconds=self._seconds / self._executions if self._executions else 0.0,
            p50_seconds=_percentile(last, 50),
            p95_seconds=_percentile(last, 95),
        )


def _percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed (nearest rank)."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0.0
