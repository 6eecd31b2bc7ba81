"""What is counted most often, gathered for a moment and counted together.

A count costs a microsecond where counts follow one another, and four between other things: its code and its data have
left the processor's caches by then. Each step of a run is counted half a dozen times.
"""

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from ...ports.telemetry import NoTelemetry

if TYPE_CHECKING:
    from .telemetry import OtelTelemetry

_SECONDS = 0.1
_MOST = 4_096


class GatheredTelemetry(NoTelemetry):
    """The port `Telemetry`, in front of OpenTelemetry's. To be told in the thread of a running loop.

    What `count` is not called for is lost with the process, a tenth of a second's counts at most.
    """

    def __init__(self, telemetry: "OtelTelemetry") -> None:
        self._to = telemetry
        self._started: dict[tuple[str, str, int], int] = defaultdict(int)
        self._ended: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
        self._waits: dict[str, list[float]] = defaultdict(list)
        self._nodes: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
        self._in_flight = 0
        self._gathered = 0
        self._due: asyncio.TimerHandle | None = None
        for name in ("runs_owned", "stuck", "lease_expired", "recovered", "dead_letter", "triggered", "watch_lag"):
            setattr(self, name, getattr(telemetry, name))

    def run_started(self, kind: str, name: str, nodes: int) -> None:
        self._started[kind, name, nodes] += 1
        self._note()

    def run_ended(self, kind: str, name: str, *, success: bool, seconds: float) -> None:
        self._ended[kind, name, success].append(seconds)
        self._note()

    def node_began(self, graph: str, waited: float) -> None:
        self._in_flight += 1
        self._waits[graph].append(waited)
        self._note()

    def node_ended(self, graph: str, node: str, *, success: bool, seconds: float) -> None:
        self._nodes[graph, node, success].append(seconds)
        self._note()

    def node_left(self) -> None:
        self._in_flight -= 1
        self._note()

    def count(self) -> None:
        """Count what is gathered."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._gathered = 0
        to = self._to
        for (kind, name, nodes), count in self._started.items():
            to.runs_started(kind, name, nodes, count)
        for (kind, name, success), seconds in self._ended.items():
            to.runs_ended(kind, name, success=success, seconds=seconds)
        for graph, waits in self._waits.items():
            to.nodes_waited(graph, waits)
        for (graph, node, success), seconds in self._nodes.items():
            to.nodes_ended(graph, node, success=success, seconds=seconds)
        if self._in_flight:
            to.in_flight(self._in_flight)
            self._in_flight = 0
        for gathered in (self._started, self._ended, self._waits, self._nodes):
            gathered.clear()

    def _note(self) -> None:
        self._gathered += 1
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_SECONDS, self.count)
        elif self._gathered >= _MOST:
            self.count()
