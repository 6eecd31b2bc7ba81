"""Where harm is done: the cluster, what is under way in it, and chance. And what is told of a harm afterwards."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.brokers import Broker, BrokerCluster, ClusterNode, HarmableBroker
from tests.chaos.cluster import Cluster, Process, until
from tests.chaos.ledger import LedgerReader, Line

_MARGIN = 0.1, 0.6
_IN_FLIGHT_SECONDS = 60.0
_ENDED_SECONDS = 60.0
_ABSENCES = 0.0, 0.5, 2.0
"""How long nobody takes a dead process's place (seconds); it is part of the harm."""


@dataclass(slots=True)
class Harmed:
    """What was done, and what it cut off. `since` and `since_ms` are when it began, by both clocks."""

    unfinished: int = 0
    """Executions that had begun and not ended."""
    since: float = field(default_factory=time.monotonic)
    since_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    over_ms: int = 0
    """When what was harmed could work again, for harm that lasts: a recovery is counted from then on."""
    what: str = ""
    exit_codes: list[int | None] = field(default_factory=list)
    """None for a process that went on."""
    partitions: set[int] = field(default_factory=set)
    """Partitions of runs that lost their coordinator."""
    cut_off: list[Line] = field(default_factory=list)
    """Executions that lost their worker."""
    awaited: list[Process] = field(default_factory=list)
    """Processes whose work nobody else can do meanwhile."""
    fenced: int = 0
    """Paused owners that the fence refused."""
    faults: list[str] = field(default_factory=list)
    """What the harmed process should have done and did not."""

    def hit(self, *victims: Process) -> None:
        """Note what these processes hold: it waits for others from now on."""
        self.what = ", ".join(filter(None, [self.what, *(victim.name for victim in victims)]))
        for victim in victims:
            if victim.role == "coordinator":
                self.partitions.update(victim.partitions)


class Scene:
    """`least` executions must be under way before anything is harmed. `more` starts more runs, if there is need."""

    def __init__(
        self,
        cluster: Cluster,
        ledger: LedgerReader,
        chance: random.Random,
        *,
        least: int,
        more: Callable[[], object] = lambda: None,
        broker: Broker | None = None,
    ) -> None:
        self.cluster = cluster
        self.ledger = ledger
        self.chance = chance
        self.more = more
        self._broker = broker if isinstance(broker, HarmableBroker) else None
        self._nodes = broker.nodes if isinstance(broker, BrokerCluster) else ()
        self._least = least
        self._ended_before = ledger.ended

    @property
    def broker(self) -> HarmableBroker:
        if self._broker is None:
            raise RuntimeError("this broker is not ours to harm: let the command start one, from its jars or in Docker")
        return self._broker

    @property
    def nodes(self) -> Sequence[ClusterNode]:
        """What the broker consists of."""
        if not self._nodes:
            raise RuntimeError("this broker is no cluster of ours: let the command start one, by --broker trio")
        return self._nodes

    def holding(self, role: str) -> list[Process]:
        """The processes that have partitions."""
        return [process for process in self.cluster.of(role) if process.partitions]

    async def under_way(self, victims: Sequence[Process] = ()) -> int:
        """Wait until enough executions have begun and not ended, at the victims if they are workers."""
        workers = self._workers(victims)
        # One that ends while this is read was under way; a margin keeps the count honest.
        least = self._least + int(self._least * self.chance.uniform(*_MARGIN))

        def enough() -> bool:
            for process in self.cluster.unexpected():
                raise RuntimeError(f"{process.name} ended with code {process.code}:\n{process.tail}")
            # Outcomes flow too: in the first instant of a round a coordinator has all behind it, or all before.
            unfinished = self.unfinished(workers)
            return unfinished >= least and self.ledger.ended >= self._ended_before + least

        await until(enough, _IN_FLIGHT_SECONDS, f"{least} executions are under way")
        return self.unfinished(workers)

    def unfinished(self, pids: Sequence[int]) -> int:
        """How many executions have begun and not ended in these processes."""
        return len(self.ledger.open(pids))

    async def buried(self, harmed: Harmed, process: Process) -> int:
        """Wait for its end, and note what it leaves undone."""
        code = await process.ended(_ENDED_SECONDS)
        self.cluster.bury(process)
        harmed.exit_codes.append(code)
        harmed.cut_off += self.ledger.open([process.pid])
        return code

    async def replace(self, harmed: Harmed, dead: Sequence[Process]) -> None:
        """Start others in their places, after a while."""
        await asyncio.sleep(self.chance.choice(_ABSENCES))
        for process in dead:
            self.replace_now(harmed, process)

    def replace_now(self, harmed: Harmed, dead: Process) -> None:
        """Start another in its place."""
        fresh = self.cluster.replace(dead)
        if dead.role == "ingest":
            harmed.awaited.append(fresh)

    def _workers(self, victims: Sequence[Process]) -> list[int]:
        """The workers whose executions count: those among the victims, or without one all that live."""
        among = [process.pid for process in victims if process.role == "worker"]
        return among or [process.pid for process in self.cluster.of("worker")]
