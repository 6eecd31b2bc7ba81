"""A rolling restart under load: every process is replaced, nodes of up to twenty seconds are in flight.

It must cost no execution and delay no run: as many executions as nodes, and no run waits for more than some seconds.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.field import Field
from tests.chaos.kills import told_to_stop
from tests.chaos.scene import Harmed, Scene
from tests.chaos.screen import Screen
from tests.chaos.started import Started
from tests.chaos.verdict import Judge, Verdict

GRACE_SECONDS = 25
"""Longer than the longest node: what takes longer is given back, which costs an execution."""

MOST_DELAYED = 5.0
"""How long a run may take beyond its nodes' own times (seconds)."""

_RATE = 5.0
"""Runs a second: some thirty executions are under way then, and seldom fewer than what a round waits for."""

_SHARES: Mapping[str, int] = {"paced": 5, "line": 2, "leased": 1, "triggered": 2}
"""Nothing but lines: what a run of them takes beyond its nodes' times is delay."""

_LEAST_UNFINISHED = 20
_SHOWN = 20


@dataclass(slots=True)
class Rolled:
    """What a rolling restart came to. Times in seconds."""

    stops: dict[str, float] = field(default_factory=dict)
    """For each process, from SIGTERM to its end."""
    nodes: int = 0
    executions: int = 0
    delays: list[float] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def holds(self) -> bool:
        return not self.verdict.faults and self.executions == self.nodes and max(self.delays) <= MOST_DELAYED

    def as_json(self) -> Mapping[str, Any]:
        return {
            "holds": self.holds,
            "stops": self.stops,
            "nodes": self.nodes,
            "executions": self.executions,
            "runs": self.verdict.runs,
            "most_delayed": max(self.delays, default=0.0),
            "median_delay": _median(self.delays),
            "faults": self.verdict.faults,
        }

    def text(self) -> str:
        lines = [
            *(f"  {name:<16} stopped in {seconds:5.1f} s" for name, seconds in self.stops.items()),
            f"{self.verdict.runs} runs: {self.nodes} nodes, {self.executions} executions",
            f"a run was delayed for {_median(self.delays):.2f} s (median), {max(self.delays, default=0):.2f} s (most)",
            *(f"    {fault}" for fault in self.verdict.faults[:_SHOWN]),
            "everything holds" if self.holds else "NOT everything holds",
        ]
        return "\n".join(lines)


class Rolling:
    """Plays on a field that is open."""

    def __init__(self, on: Field, screen: Screen) -> None:
        self._on = on
        self._screen = screen
        self._load = on.load(random.Random("roll"))
        self._load.shares = _SHARES

    async def play(self) -> Rolled:
        """Replace every process under load, let every run end, and judge."""
        on, rolled, harmed = self._on, Rolled(), Harmed()
        scene = Scene(on.cluster, on.ledger, random.Random("roll"), least=_LEAST_UNFINISHED)
        loading = asyncio.create_task(self._load.steady(_RATE))
        try:
            for victim in list(on.cluster.processes):
                unfinished = await scene.under_way()
                self._screen.doing = f"restarting {victim.name}"
                began = time.monotonic()
                await on.cluster.replace(victim).ready()
                stopped = time.monotonic()
                await told_to_stop(scene, harmed, victim)
                rolled.stops[victim.name] = round(time.monotonic() - stopped, 2)
                times = f"replaced in {stopped - began:4.1f} s, stopped in {rolled.stops[victim.name]:4.1f} s"
                self._screen.say(f"{victim.name:<16} {times}, {unfinished} executions under way")
            self._load.stop()
            await loading
            await on.all_ended(self._load.started)
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError):
                await loading
        rolled.verdict = await Judge(on.observer, on.ledger, self._load.started, on.cluster.deployment.blobs).judge()
        rolled.verdict.faults += [*harmed.faults, *await on.overtaken(), *on.unexpected()]
        rolled.nodes = sum(rolled.verdict.executions_of_nodes.values())
        rolled.executions = rolled.verdict.executions
        rolled.delays = [self._delay(start) for start in self._load.started if start.run in on.observer.ended_ms]
        return rolled

    def _delay(self, start: Started) -> float:
        """What the run took beyond its nodes' times. Where one was executed twice, the last one counts."""
        ledger = self._on.ledger
        took = self._on.observer.ended_ms[start.run] - ledger.accepted[start.run].at_ms
        for (run, _), lines in ledger.executions.items():
            if run == start.run:
                begins = [line.at_ms for line in lines if line.kind == "begin"]
                ends = [line.at_ms for line in lines if line.kind == "end"]
                took -= max(ends, default=max(begins)) - max(begins)
        return took / 1000


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
