"""One round: many runs in flight, something is killed or paused in their middle, and the verdict."""

import asyncio
import itertools
import random
from dataclasses import dataclass, field

from tests.chaos.field import Field
from tests.chaos.harm import HARMS, LEAST_UNFINISHED, NEED_BROKER, NEED_CLUSTER, Kind
from tests.chaos.load import Load
from tests.chaos.scene import Scene
from tests.chaos.verdict import Judge, Verdict

_REPEAT_NOTHING: frozenset[Kind] = NEED_BROKER | NEED_CLUSTER | {"stop", "terminate", "restart"}
"""A write that was refused is a delivery to two coordinators; and a deploy need repeat nothing."""


@dataclass(slots=True)
class Outcome:
    """A round in numbers. Times in seconds from the kill or stop on."""

    kind: Kind
    seed: int
    unfinished: int = 0
    finished: int = 0
    """Runs that had ended before the kill."""
    silence: float = 0.0
    """The longest time without any progress after the kill."""
    recovery: float = 0.0
    """Until the last run ended."""
    exit_codes: list[int | None] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def holds(self) -> bool:
        return not self.verdict.faults

    @property
    def shows_something(self) -> bool:
        """Who dies in a moment when all is confirmed leaves nothing to deliver again: that round has no weight."""
        return self.verdict.redeliveries > 0 or self.kind in _REPEAT_NOTHING


async def play(on: Field, kind: Kind, seed: int, runs: int) -> Outcome:
    """Start the runs, do the harm, wait for their ends, and judge."""
    chance = random.Random(f"{kind}/{seed}")
    outcome = Outcome(kind, seed)
    await on.cluster.ready()
    loads: list[Load] = []
    starting: list[asyncio.Task[None]] = []

    def more() -> None:
        loads.append(on.load(chance))
        starting.append(asyncio.create_task(loads[-1].burst(runs)))

    scene = Scene(on.cluster, on.ledger, chance, least=LEAST_UNFINISHED, more=more, broker=on.broker)
    more()
    try:
        harmed = await HARMS[kind](scene)
        await asyncio.gather(*starting)
    finally:
        for task in starting:
            task.cancel()
    started = [start for load in loads for start in load.started]
    since = harmed.since
    outcome.unfinished, outcome.exit_codes = harmed.unfinished, harmed.exit_codes
    outcome.finished = sum(on.observer.ended_at.get(start.run, since) < since for start in started)
    await on.all_ended(started)
    verdict = outcome.verdict = await Judge(on.observer, on.ledger, started, on.cluster.deployment.blobs).judge()
    verdict.faults += [*harmed.faults, *await on.overtaken(), *on.unexpected()]
    ends = [on.observer.ended_at[start.run] for start in started if start.run in on.observer.ended_at]
    outcome.recovery = max(ends, default=since) - since
    times = [since, *(at for at in on.observer.progress_at if since < at <= max(ends, default=since))]
    outcome.silence = max((after - before for before, after in itertools.pairwise(times)), default=0.0)
    return outcome
