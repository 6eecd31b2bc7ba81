"""One round: many runs in flight, something is killed or paused in their middle, and the verdict."""

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

import orjson
from aiokafka import AIOKafkaProducer

from beluga_stream.application.runs import Runs
from beluga_stream.bootstrap.client import open_runs
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.ids import run_id
from tests.chaos.cluster import Cluster, until
from tests.chaos.harm import Harm, Kind
from tests.chaos.ledger import LedgerReader
from tests.chaos.observer import Observer
from tests.chaos.verdict import Judge, Started, Verdict
from tests.chaos.writers import overtaken, writers

_SHARES = {
    "line": 20,
    "diamond": 12,
    "fan": 12,
    "flow": 12,
    "flaky": 10,
    "fork": 10,
    "nested": 10,
    "loop": 6,
    "triggered": 4,
    "leased": 3,
    "wide": 1,
}
_STALLED_SECONDS = 90.0
"""Without any progress for this long, what has not ended is stuck."""


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


class Field:
    """A cluster under observation, on which rounds are played one after the other."""

    def __init__(self, cluster: Cluster, crash_broker: Callable[[], object] | None = None) -> None:
        deployment = cluster.deployment
        self._crash_broker = crash_broker
        self.cluster = cluster
        self.ledger = LedgerReader(deployment.ledger)
        self.observer = Observer(deployment.broker, deployment.prefix, deployment.partitions)
        self._stack = AsyncExitStack()
        self.desk: Runs
        self.producer: AIOKafkaProducer

    async def __aenter__(self) -> Self:
        deployment = self.cluster.deployment
        settings = Settings.load(
            broker=deployment.broker,
            prefix=deployment.prefix,
            partitions=deployment.partitions,
            blobs=str(deployment.blobs),
        )
        try:
            await self._stack.enter_async_context(self.cluster)
            await self._stack.enter_async_context(self.observer)
            self.desk = await self._stack.enter_async_context(open_runs(settings))
            self.producer = AIOKafkaProducer(bootstrap_servers=deployment.broker)
            self._stack.push_async_callback(self.producer.stop)
            await self.producer.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def play(self, kind: Kind, seed: int, runs: int) -> Outcome:
        """Start the runs, do the harm, wait for their ends, and judge."""
        chance = random.Random(f"{kind}/{seed}")
        outcome = Outcome(kind, seed)
        await self.cluster.ready()
        starting: list[asyncio.Task[list[Started]]] = []

        def more() -> None:
            starting.append(asyncio.create_task(self._start(chance, runs)))

        crash = self._crash_broker
        harm = Harm(self.cluster, self.ledger, chance, more=more, crash_broker=crash)
        more()
        try:
            harmed = await harm.do(kind)
            started = [start for task in starting for start in await task]
        finally:
            for task in starting:
                task.cancel()
        since = harmed.since
        outcome.unfinished, outcome.exit_codes = harmed.unfinished, harmed.exit_codes
        outcome.finished = sum(self.observer.ended_at.get(start.run, since) < since for start in started)
        await self._all_ended(started)
        # What is still under way are executions of attempts that others have completed: they end too.
        await self.observer.caught_up()
        self.ledger.refresh()
        blobs = self.cluster.deployment.blobs
        outcome.verdict = await Judge(self.observer, self.ledger.lines, started, blobs).judge()
        # A write that was refused is a delivery to two coordinators; and a deploy need repeat nothing.
        if outcome.verdict.redeliveries == 0 and kind not in ("stop", "restart", "broker"):
            outcome.verdict.faults.append("nothing was delivered again, so this round shows nothing")
        outcome.verdict.faults += [*harmed.faults, *await self._overtaken()]
        outcome.verdict.faults += [
            f"{process.name} ended by itself with code {process.code}:\n{process.tail}"
            for process in self.cluster.unexpected()
        ]
        ends = [self.observer.ended_at[start.run] for start in started if start.run in self.observer.ended_at]
        outcome.recovery = max(ends, default=since) - since
        outcome.silence = self._silence(since, max(ends, default=since))
        return outcome

    async def _start(self, chance: random.Random, runs: int) -> list[Started]:
        graphs = chance.choices([*_SHARES], [*_SHARES.values()], k=runs)
        started: list[Started] = []

        async def start(graph: str) -> None:
            value = secrets.token_hex(8)
            if graph == "triggered":
                started.append(await self._trigger(value))
            else:
                started.append(Started(str(await self.desk.start(graph, value)), graph, value))

        await asyncio.gather(*(start(graph) for graph in graphs))
        return started

    async def _trigger(self, value: str) -> Started:
        """Publish an event as a user does; its run's id follows from where the event lies."""
        topic = self.cluster.deployment.events
        sent = await self.producer.send_and_wait(topic, orjson.dumps(value), key=value.encode())
        identity = f"{topic}/{sent.partition}/{sent.offset}"
        return Started(str(run_id("triggered", topic, identity)), "triggered", value)

    async def _all_ended(self, started: Sequence[Started]) -> None:
        """Wait until every run has ended, or until nothing happens any more."""
        observer = self.observer

        def done() -> bool:
            if all(start.run in observer.ended_at for start in started):
                return True
            newest = observer.progress_at[-1] if observer.progress_at else began
            return time.monotonic() - max(newest, began) > _STALLED_SECONDS

        began = time.monotonic()
        await until(done, 600, "every run ends or nothing happens any more")

    async def _overtaken(self) -> list[str]:
        deployment = self.cluster.deployment
        changelog = f"{deployment.prefix}-coordinator-runs-changelog"
        faults: list[str] = []
        for partition in range(deployment.partitions):
            batches = await writers(deployment.broker, changelog, partition)
            faults += [f"{changelog}/{partition}, {wrong}" for wrong in overtaken(batches)]
        return faults

    def _silence(self, since: float, end: float) -> float:
        times = [since, *(at for at in self.observer.progress_at if since < at <= end)]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)
