"""One round: many runs in flight, something is killed or paused in their middle, and the verdict."""

import asyncio
import itertools
import random
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal, Self

import orjson
from aiokafka import AIOKafkaProducer

from beluga_stream.application.runs import Runs
from beluga_stream.bootstrap.client import open_runs
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.ids import run_id
from tests.chaos.cluster import Cluster, Process, until
from tests.chaos.ledger import LedgerReader
from tests.chaos.observer import Observer
from tests.chaos.verdict import Judge, Started, Verdict
from tests.chaos.writers import overtaken, writers

Kind = Literal["worker", "coordinator", "both", "stop"]
KINDS: tuple[Kind, ...] = ("worker", "coordinator", "both", "stop")

LEAST_UNFINISHED = 100
"""A kill counts only when this many executions have begun and not ended."""

_ROLES: Mapping[Kind, tuple[str, ...]] = {
    "worker": ("worker",),
    "coordinator": ("coordinator",),
    "both": ("coordinator", "worker"),
    "stop": ("coordinator",),
}

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
_IN_FLIGHT_SECONDS = 60.0
_MOVED_SECONDS = 60.0
_FENCED_SECONDS = 60.0
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
    exit_codes: list[int] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def holds(self) -> bool:
        return not self.verdict.faults


class Field:
    """A cluster under observation, on which rounds are played one after the other."""

    def __init__(self, cluster: Cluster) -> None:
        deployment = cluster.deployment
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
        starting = asyncio.create_task(self._start(chance, runs))
        try:
            since = await self._harm(kind, chance, outcome)
            started = await starting
        finally:
            starting.cancel()
        outcome.finished = sum(self.observer.ended_at.get(start.run, since) < since for start in started)
        await self._all_ended(started)
        # What is still under way are executions of attempts that others have completed: they end too.
        await self.observer.caught_up()
        self.ledger.refresh()
        blobs = self.cluster.deployment.blobs
        outcome.verdict = await Judge(self.observer, self.ledger.lines, started, blobs).judge()
        outcome.verdict.faults += await self._overtaken()
        outcome.verdict.faults += [
            f"{process.name} ended by itself with code {process.code}:\n{process.tail}"
            for process in self.cluster.unexpected()
        ]
        ends = [self.observer.ended_at[start.run] for start in started if start.run in self.observer.ended_at]
        outcome.recovery = max(ends, default=since) - since
        outcome.silence = self._silence(since, max(ends, default=since))
        if kind == "stop":
            outcome.verdict.faults += self._unfenced(outcome)
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

    async def _harm(self, kind: Kind, chance: random.Random, outcome: Outcome) -> float:
        """Wait for enough executions under way, then kill or stop; return when."""
        victims = self._victims(kind, chance)
        # An execution that ends as this is read was under way; a margin keeps the count honest.
        least = LEAST_UNFINISHED + chance.randrange(10, 60)
        workers = [process.pid for process in victims if process.role == "worker"] or None

        def enough() -> bool:
            outcome.unfinished = self.ledger.unfinished(workers)
            return outcome.unfinished >= least

        await until(enough, _IN_FLIGHT_SECONDS, f"{least} executions are under way")
        if kind == "stop":
            return await self._stop(victims[0], outcome)
        since = time.monotonic()
        for process in victims:
            process.send(signal.SIGKILL)
        for process in victims:
            outcome.exit_codes.append(await process.ended(10))
            self.cluster.bury(process)
        # How many had really begun and not ended: the dead cannot end any more.
        outcome.unfinished = self.ledger.unfinished(workers)
        for process in victims:
            self.ledger.forget_unfinished(process.pid)
        await asyncio.sleep(
            chance.choice((0.0, 0.5, 2.0))
        )  # how long nobody starts another is part of the harm
        for process in victims:
            self.cluster.start(process.role)
        return since

    def _victims(self, kind: Kind, chance: random.Random) -> Sequence[Process]:
        """All processes of the roles by turns, or one of each: a cluster with and without survivors."""
        everyone = kind != "stop" and chance.random() < 0.5
        victims: list[Process] = []
        for role in _ROLES[kind]:
            candidates = [process for process in self.cluster.of(role) if process.partitions]
            victims += candidates if everyone else [chance.choice(candidates)]
        return victims

    async def _stop(self, victim: Process, outcome: Outcome) -> float:
        """SIGSTOP until the others have its partitions, then SIGCONT: it must find itself fenced and exit."""
        held = set(victim.partitions)
        others = [process for process in self.cluster.of("coordinator") if process is not victim]
        before = {process.pid: len(process.said("acquire")) for process in others}
        since = time.monotonic()
        victim.send(signal.SIGSTOP)

        def moved() -> bool:
            taken = {
                line["partition"] for other in others for line in other.said("acquire")[before[other.pid] :]
            }
            return held <= taken

        try:
            await until(moved, _MOVED_SECONDS, f"partitions {sorted(held)} of {victim.name} move")
        finally:
            victim.send(signal.SIGCONT)
        outcome.exit_codes.append(await victim.ended(_FENCED_SECONDS))
        self.cluster.bury(victim)
        self._stopped = victim
        self.cluster.start("coordinator")
        return since

    def _unfenced(self, outcome: Outcome) -> list[str]:
        faults: list[str] = []
        if outcome.exit_codes[0] == 0:
            faults.append("the stopped coordinator ended with code 0")
        fenced = [line for line in self._stopped.said("role.failed") if line.get("error") == "Fenced"]
        if not fenced:
            faults.append(f"the stopped coordinator was not fenced:\n{self._stopped.tail}")
        return faults

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
