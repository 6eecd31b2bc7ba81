"""What is done to a cluster while runs are in flight: killed, stopped, frozen, restarted."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.chaos.cluster import Cluster, Process, until
from tests.chaos.ledger import LedgerReader

Kind = Literal["worker", "coordinator", "both", "stop", "freeze", "storm", "restart", "broker"]

KINDS: tuple[Kind, ...] = ("worker", "coordinator", "both", "stop")
"""What every release must survive; the others search for more."""

ALL_KINDS: tuple[Kind, ...] = (*KINDS, "freeze", "storm", "restart", "broker")

LEAST_UNFINISHED = 100
"""Harm counts only when this many executions have begun and not ended."""

_MARGIN = 10, 60
_IN_FLIGHT_SECONDS = 60.0
_MOVED_SECONDS = 60.0
_ENDED_SECONDS = 60.0
_ABSENCES = 0.0, 0.5, 2.0
"""How long nobody takes a dead process's place (seconds); it is part of the harm."""
_STOPS = 6
_STORM_KILLS = 6
_STORM_PAUSE = 0.2, 5.0


@dataclass(slots=True)
class Harmed:
    """What was done. `since` is when it began, by the monotonic clock."""

    since: float
    unfinished: int
    exit_codes: list[int | None] = field(default_factory=list)
    """None for a process that went on."""
    faults: list[str] = field(default_factory=list)
    """What the harmed process should have done and did not."""


class Harm:
    """Does one kind of harm to a cluster, as chance decides.

    `more` starts more runs, as many as there were; `crash_broker` returns when the broker is back.
    """

    def __init__(
        self,
        cluster: Cluster,
        ledger: LedgerReader,
        chance: random.Random,
        *,
        more: Callable[[], object],
        crash_broker: Callable[[], object] | None = None,
    ) -> None:
        self._crash = crash_broker
        self._more = more
        self._cluster = cluster
        self._ledger = ledger
        self._ended_before = ledger.ended
        self._chance = chance

    async def do(self, kind: Kind) -> Harmed:
        """Wait for enough executions under way, then do it."""
        kinds: Mapping[Kind, Callable[[], Awaitable[Harmed]]] = {
            "worker": lambda: self._kill("worker"),
            "coordinator": lambda: self._kill("coordinator"),
            "both": lambda: self._kill("coordinator", "worker"),
            "stop": self._stop,
            "freeze": self._freeze,
            "storm": self._storm,
            "restart": self._restart,
            "broker": self._crash_broker,
        }
        return await kinds[kind]()

    async def _under_way(self, victims: list[Process] | None = None) -> int:
        """Wait until enough executions have begun and not ended, at the victims if they are workers."""
        workers = self._workers(victims or [])
        # One that ends while this is read was under way; a margin keeps the count honest.
        least = LEAST_UNFINISHED + self._chance.randrange(*_MARGIN)
        what = f"{least} executions are under way"

        def enough() -> bool:
            for process in self._cluster.unexpected():
                raise RuntimeError(f"{process.name} ended with code {process.code}:\n{process.tail}")
            # Outcomes flow too: in the first instant of a round a coordinator has all behind it, or all before.
            unfinished = self._ledger.unfinished(workers)
            return unfinished >= least and self._ledger.ended >= self._ended_before + least

        await until(enough, _IN_FLIGHT_SECONDS, what)
        return self._ledger.unfinished(workers)

    async def _kill(self, *roles: str) -> Harmed:
        """`kill -9` of all processes of the roles or of one of each: a cluster without and with survivors."""
        everyone = self._chance.random() < 0.5
        victims: list[Process] = []
        for role in roles:
            candidates = self._holding(role)
            victims += candidates if everyone else [self._chance.choice(candidates)]
        workers = self._workers(victims)
        unfinished = await self._under_way(victims)
        since = time.monotonic()
        for process in victims:
            process.send(signal.SIGKILL)
        codes: list[int | None] = [await self._buried(process) for process in victims]
        if any(process.role == "worker" for process in victims):
            # Read again: the dead cannot end any more, so this is how many had begun and not ended.
            unfinished = self._ledger.unfinished(workers)
        harmed = Harmed(since, unfinished, codes)
        await self._replace(victims)
        return harmed

    async def _stop(self) -> Harmed:
        """SIGSTOP a coordinator until its partitions moved, then SIGCONT: it must be fenced and exit.

        One that learns that it was replaced before it has anything to write rejoins, as it should; that
        shows nothing of the fence, and the next one is stopped.
        """
        harmed = Harmed(0, await self._under_way())
        harmed.since = time.monotonic()
        for _ in range(_STOPS):
            victim = self._chance.choice(self._holding("coordinator"))
            before = len(victim.said("role.acquired"))
            await self._pause(victim)

            def decided(victim: Process = victim, before: int = before) -> bool:
                return victim.code is not None or len(victim.said("role.acquired")) > before

            await until(decided, _ENDED_SECONDS, f"{victim.name} exits or rejoins:\n{victim.tail}")
            if victim.said("role.failed"):
                break
            harmed.exit_codes.append(None)
            self._more()
            await self._under_way()
        else:
            harmed.faults.append(f"none of {_STOPS} stopped coordinators has tried to write")
            return harmed
        code = await self._buried(victim)
        harmed.exit_codes.append(code)
        if code == 0:
            harmed.faults.append("the stopped coordinator ended with code 0")
        if not any(line.get("error") == "Fenced" for line in victim.said("role.failed")):
            harmed.faults.append(f"the stopped coordinator was not fenced:\n{victim.tail}")
        self._cluster.replace(victim)
        return harmed

    async def _freeze(self) -> Harmed:
        """SIGSTOP a worker until others have its partitions, then SIGCONT: it is to go on as a member."""
        victim = self._chance.choice(self._holding("worker"))
        harmed = Harmed(0, await self._under_way([victim]))
        harmed.since = time.monotonic()
        before = len(victim.said("role.acquired"))
        await self._pause(victim)
        try:
            await until(lambda: len(victim.said("role.acquired")) > before, _MOVED_SECONDS, f"{victim.name} rejoins")
        except TimeoutError as error:
            harmed.faults.append(str(error))
        return harmed

    async def _storm(self) -> Harmed:
        """`kill -9` of one process after the other, also of those that are just recovering."""
        harmed = Harmed(0, await self._under_way())
        harmed.since = time.monotonic()
        for _ in range(_STORM_KILLS):
            candidates = [process for process in self._cluster.processes if process.role != "ingest"]
            victim = self._chance.choice(candidates)
            victim.send(signal.SIGKILL)
            harmed.exit_codes.append(await self._buried(victim))
            self._cluster.replace(victim)
            await asyncio.sleep(self._chance.uniform(*_STORM_PAUSE))  # the storm's own pace
        return harmed

    async def _restart(self) -> Harmed:
        """Replace every process, one after the other, as a deploy does: SIGTERM must end it with 0."""
        harmed = Harmed(0, await self._under_way())
        harmed.since = time.monotonic()
        for victim in list(self._cluster.processes):
            await self._cluster.replace(victim).ready()
            victim.send(signal.SIGTERM)
            code = await self._buried(victim)
            harmed.exit_codes.append(code)
            if code != 0:
                harmed.faults.append(f"{victim.name} ended with code {code} at SIGTERM:\n{victim.tail}")
        return harmed

    async def _crash_broker(self) -> Harmed:
        """`kill -9` of the broker, started again with what it had: nobody may end, and nothing be lost."""
        if self._crash is None:
            raise RuntimeError("this broker is not ours to kill: let the command start one from its jars")
        unfinished = await self._under_way()
        since = time.monotonic()
        await asyncio.to_thread(self._crash)
        return Harmed(since, unfinished)

    async def _pause(self, victim: Process) -> None:
        """SIGSTOP until all its partitions were taken by others, SIGCONT."""
        held = set(victim.partitions)
        others = [process for process in self._cluster.of(victim.role) if process is not victim]
        before = {process.pid: len(process.said("role.acquired")) for process in others}

        def moved() -> bool:
            taken: set[int] = set()
            for other in others:
                for line in other.said("role.acquired")[before[other.pid] :]:
                    taken.update(line["partitions"])
            return held <= taken

        victim.send(signal.SIGSTOP)
        try:
            await until(moved, _MOVED_SECONDS, f"partitions {sorted(held)} of {victim.name} move")
        finally:
            victim.send(signal.SIGCONT)

    async def _replace(self, dead: list[Process]) -> None:
        await asyncio.sleep(self._chance.choice(_ABSENCES))
        for process in dead:
            self._cluster.replace(process)

    async def _buried(self, process: Process) -> int:
        code = await process.ended(_ENDED_SECONDS)
        self._cluster.bury(process)
        self._ledger.refresh()
        return code

    def _workers(self, victims: list[Process]) -> list[int]:
        """The workers whose executions count: those among the victims, or without one all that live."""
        among = [process.pid for process in victims if process.role == "worker"]
        return among or [process.pid for process in self._cluster.of("worker")]

    def _holding(self, role: str) -> list[Process]:
        """The processes that have partitions."""
        return [process for process in self._cluster.of(role) if process.partitions]
