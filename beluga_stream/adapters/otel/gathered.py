"""What is counted most often, gathered for a moment and counted together.

A count costs a microsecond where counts follow one another, and four between other things: its code and its data have
left the processor's caches by then. Each step of a run is counted half a dozen times.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from ...ports.telemetry import NoTelemetry, Telemetry

_SECONDS = 0.1
_MOST = 4_096

Count: TypeAlias = tuple[Callable[..., None], tuple[Any, ...]]


class GatheredTelemetry(NoTelemetry):
    """The port `Telemetry`, in front of another one. To be told in the thread of a running loop.

    What `close` is not called for is lost with the process, a tenth of a second's counts at most.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._to = telemetry
        self._counts: list[Count] = []
        self._due: asyncio.TimerHandle | None = None
        for name in ("runs_owned", "stuck", "lease_expired", "recovered", "dead_letter", "triggered", "watch_lag"):
            setattr(self, name, getattr(telemetry, name))

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        self._gather(self._to.run_started, kind, name, nodes)

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        self._gather(self._end_run, kind, name, success, seconds)

    def node_began(self, graph: str, waited: float) -> None:
        self._gather(self._to.node_began, graph, waited)

    def node_ended(self, graph: str, node: str, *, success: bool, seconds: float) -> None:
        self._gather(self._end_node, graph, node, success, seconds)

    def node_left(self) -> None:
        self._gather(self._to.node_left)

    def count(self) -> None:
        """Count what is gathered."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        counts, self._counts = self._counts, []
        for count, told in counts:
            count(*told)

    def _gather(self, count: Callable[..., None], *told: Any) -> None:
        counts = self._counts
        counts.append((count, told))
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_SECONDS, self.count)
        elif len(counts) >= _MOST:
            self.count()

    def _end_run(self, kind: str, name: str, success: bool, seconds: float) -> None:  # noqa: FBT001 - a row of a list
        self._to.run_ended(kind, name, success=success, seconds=seconds)

    def _end_node(self, graph: str, node: str, success: bool, seconds: float) -> None:  # noqa: FBT001 - as above
        self._to.node_ended(graph, node, success=success, seconds=seconds)
