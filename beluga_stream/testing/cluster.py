"""A whole engine in one process: coordinators, workers and ingest over a log that fails as brokers do.

It wires the real roles as `bootstrap` does, over ports that fail; what else goes wrong, `harm` does to it.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from ..adapters.memory.blobs import MemoryBlobs
from ..adapters.memory.groups import MemoryGroup
from ..adapters.memory.log import MemoryLog
from ..adapters.memory.tables import Changelog
from ..application.catalog import Catalog, publish
from ..application.clients.runs import Runs
from ..application.coordinator.coordinator import Coordinator, CoordinatorOptions
from ..application.coordinator.states import RESTING_BYTES
from ..application.coordinator.sweeping import Sweeper
from ..application.coordinator.watchdog import Watchdog, WatchdogOptions
from ..application.durable.bridge import Bridge
from ..application.ingest.gatherer import Gatherer, GathererOptions
from ..application.ingest.ingest import Ingest
from ..application.partitioner import partition_of
from ..application.payloads import Payloads
from ..application.topics import Topics
from ..application.worker.worker import Worker, WorkerOptions
from ..domain.definition import Definition
from ..domain.ids import GraphHash
from ..domain.payload import INLINE_LIMIT_BYTES
from ..domain.plan import Plan
from ..ports.cipher import Cipher
from ..ports.log import Outgoing, Reader, Role, TopicSpec
from ..ports.spans import NO_SPANS, Spans
from ..ports.telemetry import NoTelemetry
from .deployed import Deployed
from .faulty_ports import FaultyAppender, FaultyDriver, FaultyReader, FaultyTables, FaultyWorkers
from .harm import Harm
from .isolation import SimulatedIsolation
from .members import Member, Members, stopped
from .process import Faults, Process
from .story import Story
from .tables import Watch
from .threads import SimulatedExecutions
from .virtual_time import VirtualClock
from .witness import Witness, WitnessedExecutions
from .workflows import FaultyWorkflows, LocalWorkflows

_FAULTS_AFTER = 2
"""How much may still go wrong once all runs that were started have ended: little is left that could suffer."""

_TICK_MS = 500
"""Between two looks of a coordinator at what is due: longer than by default, since much else is later here."""

_QUIET_SECONDS = 25.0
"""Longer than a lease lasts unheard: what still wanted to happen would have happened."""

_TORN = 0.05
"""How often a gatherer dies in the midst of a commit: its commits are short, and chance would seldom cut one off."""

_LOOK_SECONDS = 2.5
_RESTART_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0

_TIMELESS = frozenset({"worker", "ingest"})
"""The groups of roles whose clocks decide nothing."""

_WATCHFUL = WatchdogOptions(
    patience_ms=2_000, redispatch_ms=3_000, look_after_ms=2_000, child_ms=None, round_ms=1_000, at_once=5
)
"""As impatient as may be: work that is only late must not be dispatched again all the same. No child is asked after, or
what the engine itself has lost would be mended before it is seen."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How large it is, and how badly it is treated. `faults` bounds what goes wrong.

    `slots` is how many handlers a worker runs at once.
    No process's clock is further from the broker's than `skew_seconds`. The clocks of clients, workers and ingest
    decide nothing, and may be off by `others_skew_seconds`. With a `cipher` everybody encrypts values but the
    coordinators, who do not have it.
    """

    coordinators: int = 2
    workers: int = 2
    partitions: int = 4
    faults: int = 12
    crash: float = 0.005
    unavailable: float = 0.002
    forgets: float = 0.2
    fuse_ms: int = 0
    slots: int = 256
    inline_limit_bytes: int = INLINE_LIMIT_BYTES
    retention_ms: int = 7 * 86_400_000
    sweep_ms: int = 86_400_000
    coordinator: CoordinatorOptions = field(default_factory=lambda: CoordinatorOptions(tick_ms=_TICK_MS))
    gatherer: GathererOptions = field(default_factory=lambda: GathererOptions(tick_ms=_TICK_MS))
    skew_seconds: float = 5.0
    others_skew_seconds: float = 900.0
    queues: tuple[str, ...] = ("default",)
    user_topics: Mapping[str, int] = field(default_factory=dict)
    cipher: Cipher | None = None
    watchdog: WatchdogOptions = _WATCHFUL
    spans: Spans = NO_SPANS


class _Catalog(Catalog):
    """A catalog that makes no plan twice: the processes of a simulation come and go, and read the same definitions."""

    def __init__(self, reader: Reader, topics: Topics, plans: dict[GraphHash, Plan]) -> None:
        super().__init__(reader, topics)
        self._made = plans

    def make(self, definition: Definition) -> Plan:
        found = definition.hash
        if found not in self._made:
            self._made[found] = Plan(definition, self._made)
        return self._made[found]


class Cluster:
    """See the module. `open` starts and stops it."""

    def __init__(self, deployment: Deployed, seed: int, options: ClusterOptions) -> None:
        self.topics = Topics(partitions=options.partitions)
        self.clock = VirtualClock()
        self.log = MemoryLog(clock=self.clock)
        self.blobs = MemoryBlobs(self.clock)
        self._plans: dict[GraphHash, Plan] = {}
        self.changelogs: dict[int, Changelog] = {}
        self.gatherings: dict[int, Changelog] = {}
        """What is durable of the gatherers' tables."""
        self.changelog = f"{self.topics.prefix}.changelog"
        self.story = Story(self.log, self.topics, options.queues, self.changelog)
        self.witness = Witness(self.log, self.topics, options.queues, self.story)
        self.deployment = deployment
        self.options = options
        self.faults = Faults(
            random.Random(seed),  # noqa: S311 - a reproducible order, and no secret
            crash=options.crash,
            unavailable=options.unavailable,
            forgets=options.forgets,
            left=options.faults,
        )
        self._incarnations = count()
        self._ids = count()
        self.log.create([*self.topics.specs(options.queues), TopicSpec(self.changelog, options.partitions)])
        self.log.create(TopicSpec(name, partitions) for name, partitions in options.user_topics.items())
        makes = {
            "coordinator": self._coordinator,
            "worker": self._worker,
            "ingest": self._ingest,
            "gatherer": self._gatherer,
            "workflows": self._bridge,
        }
        self._groups = groups = {name: MemoryGroup(name) for name in makes}
        unused = set() if any(trigger.schedule is None for trigger in deployment.triggers) else {"ingest"}
        if not any(trigger.is_kept for trigger in deployment.triggers):
            unused.add("gatherer")
        durable = any(program.definition.durable for program in deployment.programs.values())
        if not durable:
            unused.add("workflows")
        self.roles = {
            name: Members(groups[name], options.partitions, self.faults, partial(self._member, groups[name], make))
            for name, make in makes.items()
            if name not in unused
        }
        self.workflows: LocalWorkflows | None = self._host() if durable else None
        """Hosts the durable runs, if a graph is durable. It never dies."""
        self.watch = Watch(self.roles["coordinator"])
        written = dict.fromkeys(self.topics_used, options.partitions) | dict(options.user_topics)
        self._harm = Harm(self.faults, self.roles, self.log, written, seed)

    def new_id(self) -> str:
        """One that nothing else has, and that is the same whenever the seed is."""
        return f"id-{next(self._ids)}"

    @property
    def defects(self) -> list[BaseException]:
        """Errors that ended a process and were no simulated fault."""
        return [error for members in self.roles.values() for error in members.defects]

    @property
    def topics_used(self) -> Sequence[str]:
        """The topics in which everything that happens is seen."""
        names = self.topics
        ready = [names.node_ready(queue) for queue in self.options.queues]
        keyed = [names.run_requests, names.run_events, names.node_done, names.run_results, names.trigger_events]
        keyed.append(names.workflow_requests)
        return [*keyed, *ready]

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Publish the definitions, start everything, and stop it afterwards."""
        definitions = [program.definition for program in self.deployment.programs.values()]
        await publish(self.log, self.topics, definitions)
        sizes = {
            "coordinator": self.options.coordinators,
            "worker": self.options.workers,
            "ingest": 1,
            "gatherer": 2,
            "workflows": 2,
        }
        for name, members in self.roles.items():
            for _ in range(sizes[name]):
                members.add()
        tasks = [asyncio.create_task(members.supervise()) for members in self.roles.values()]
        try:
            await asyncio.gather(*(members.rebalance() for members in self.roles.values()))
            tasks.append(asyncio.create_task(self._harm.processes()))
            tasks.append(asyncio.create_task(self._harm.topics()))
            tasks.append(asyncio.create_task(self.watch.look()))
            yield
        finally:
            for task in tasks:
                await stopped(task)
            for members in self.roles.values():
                for member in members.members:
                    member.process.kill()
            if self.workflows is not None:
                await self.workflows.close()
            await asyncio.sleep(1)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Runs, None]:
        """A front desk in a process of its own, which does not die."""
        calm = Faults(random.Random(self.faults.random.random()), calm=True)  # noqa: S311 - see above
        process = Process("client", calm, self.options.others_skew_seconds)
        runs = Runs(
            topics=self.topics,
            appender=FaultyAppender(self.log, process, self.witness),
            reader=FaultyReader(self.log, process),
            payloads=self._payloads(),
            clock=process,
            partition=lambda run: partition_of(run.encode(), self.topics.partitions),
            new_id=self.new_id,
        )
        try:
            yield runs
        finally:
            await runs.close()

    async def rest(self) -> None:
        """Return once nothing goes wrong and nothing goes on any more, or at the latest after a long while."""
        self.faults.left = min(self.faults.left, _FAULTS_AFTER)
        await self._harm.over.wait()
        await self._quiet()
        # Whoever takes over now finds what is durable, and nothing that a process happened to have in mind.
        for member in tuple(self.roles["coordinator"].members):
            member.process.kill()
        await asyncio.sleep(_RESTART_SECONDS)
        await self._quiet()

    async def _quiet(self) -> None:
        """Let what still goes on come to its end: child runs that were cancelled with their parents, leases."""
        loop = asyncio.get_running_loop()
        began = since = loop.time()
        before: object = None
        while loop.time() < min(since + _QUIET_SECONDS, began + _PATIENCE_SECONDS):
            await asyncio.sleep(_LOOK_SECONDS)
            now = tuple(self.log.records_in(topic) for topic in self.topics_used)
            busy = any(member.busy for members in self.roles.values() for member in members.members)
            if busy or now != before:
                before, since = now, loop.time()

    def _payloads(self) -> Payloads:
        return Payloads(self.blobs, inline_limit_bytes=self.options.inline_limit_bytes, cipher=self.options.cipher)

    async def _rows(self) -> AsyncGenerator[Sequence[tuple[str, bytes | None]], None]:
        """The table as everybody may read it."""
        for changelog in self.changelogs.values():
            yield list(changelog.rows.items())

    def _member(self, group: MemoryGroup, make: Callable[[Process], Role], name: str) -> Member:
        options = self.options
        skew_seconds = options.others_skew_seconds if group.name in _TIMELESS else options.skew_seconds
        process = Process(name, self.faults, skew_seconds, partial(self.story.tell, name))
        role = make(process)
        # The watchdog goes by what workers have committed, and the gatherers by what ingest has.
        watched = group.name == "worker" or (group.name == "ingest" and "gatherer" in self.roles)
        driver = FaultyDriver(role, self.log, group, process, self.witness, commits_at_rest=watched)
        return Member(process, role, driver)

    def _coordinator(self, process: Process) -> Role:
        reader = FaultyReader(self.log, process)
        catalog = _Catalog(reader, self.topics, self._plans)
        watchdog = Watchdog(
            self.topics,
            appender=FaultyAppender(self.log, process, self.witness),
            reader=reader,
            workers=FaultyWorkers(self._groups["worker"], self.options.partitions, process),
            catalog=catalog,
            telemetry=NoTelemetry(),
            options=self.options.watchdog,
        )
        sweeper = Sweeper(
            self.blobs, self._rows, retention_ms=self.options.retention_ms, every_ms=self.options.sweep_ms
        )
        return Coordinator(
            topics=self.topics,
            tables=FaultyTables(
                self._groups["coordinator"],
                (self.topics.run_requests, self.topics.run_events, self.topics.node_done),
                self.log,
                self.changelogs,
                process,
                partial(self._written, process),
            ),
            appender=FaultyAppender(self.log, process, self.witness),
            reader=reader,
            catalog=catalog,
            payloads=self._payloads(),
            clock=process,
            spans=self.options.spans,
            watches=[watchdog, sweeper],
            options=replace(
                self.options.coordinator,
                resting_bytes=self.faults.random.choice((0, 2_000, RESTING_BYTES)),
                workflows=self.workflows is not None,
            ),
        )

    def _written(self, process: Process, partition: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Put into the log what became durable: the changelog as others read it."""
        for key, value in changes:
            place = self.log.put(Outgoing(self.changelog, key.encode(), value), (self.changelog, partition))
            self.story.wrote(process.name, place)

    def _worker(self, process: Process) -> Role:
        return Worker(
            topics=self.topics,
            queues=self.options.queues,
            deployment=self.deployment,
            appender=FaultyAppender(self.log, process, self.witness),
            reader=FaultyReader(self.log, process),
            payloads=self._payloads(),
            executions=WitnessedExecutions(
                self.witness, process, SimulatedIsolation(self.deployment.programs, process)
            ),
            clock=process,
            spans=self.options.spans,
            options=WorkerOptions(fuse_ms=self.options.fuse_ms, slots=self.options.slots),
            name=process.name,
            new_incarnation=lambda: f"i{next(self._incarnations)}",
        )

    def _gatherer(self, process: Process) -> Role:
        most = max([self.options.partitions, *self.options.user_topics.values()])
        return Gatherer(
            topics=self.topics,
            deployment=self.deployment,
            tables=FaultyTables(
                self._groups["gatherer"],
                (self.topics.trigger_events,),
                self.log,
                self.gatherings,
                process,
                torn=_TORN,
            ),
            appender=FaultyAppender(self.log, process, self.witness),
            reader=FaultyReader(self.log, process),
            ingest=FaultyWorkers(self._groups["ingest"], most, process),
            payloads=self._payloads(),
            clock=process,
            spans=self.options.spans,
            options=self.options.gatherer,
        )

    def _ingest(self, process: Process) -> Role:
        return Ingest(
            topics=self.topics,
            deployment=self.deployment,
            appender=FaultyAppender(self.log, process, self.witness),
            payloads=self._payloads(),
            clock=process,
            spans=self.options.spans,
        )

    def _bridge(self, process: Process) -> Role:
        assert self.workflows is not None, "the role has members only where a graph is durable"
        return Bridge(
            topics=self.topics,
            workflows=FaultyWorkflows(self.workflows, process),
            catalog=_Catalog(FaultyReader(self.log, process), self.topics, self._plans),
            appender=FaultyAppender(self.log, process, self.witness),
            payloads=self._payloads(),
            clock=process,
        )

    def _host(self) -> LocalWorkflows:
        calm = Faults(random.Random(self.faults.random.random()), calm=True)  # noqa: S311 - see above
        process = Process("workflows-host", calm, tell=partial(self.story.tell, "workflows-host"))
        return LocalWorkflows(
            self.topics,
            self.deployment.programs,
            appender=self.log,
            payloads=self._payloads(),
            executions=SimulatedExecutions(process, SimulatedIsolation(self.deployment.programs, process)),
            clock=self.clock,
            spawn=process.spawn,
        )
