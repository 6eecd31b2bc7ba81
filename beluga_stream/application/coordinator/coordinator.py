"""The coordinator: owns partitions of runs, applies events to them, and lets effects follow decisions.

For each batch of a partition: decide in memory, write the changed runs to the changelog and wait, send what
they caused and wait, and only then let the driver acknowledge. A crash between any two of these repeats
at most what readers and workers recognise as repeated. While one batch is written and sent the next one is
decided; each partition's batches are written and sent in order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ...domain.plan import Plan
from ...domain.reducer import outgrown, overlong
from ...errors import NotFound
from ...ports.clock import Clock
from ...ports.log import Appender, Outgoing, PartitionTable, Reader, Record, Tables
from ...ports.spans import NO_SPANS, Spans
from ...ports.telemetry import NO_TELEMETRY, Telemetry
from .. import tracing
from ..catalog import Catalog
from ..extent import Extent, check_not_recreated, extent_of
from ..payloads import Payloads
from ..topics import Topics
from . import early
from .batch import Batch
from .deadlines import Deadlines
from .deciding import Decider
from .intake import Intake
from .limits import LimitTimers, told
from .partition import RunPartition
from .rendering import Renderer, Step
from .settlement import Decided, Rendered, Settlement, written
from .states import RESTING_BYTES, too_large
from .watchdog import Watch

_CLOSE_SECONDS = 5.0
"""How long the end of the role waits for the broker."""

_FEW = 100
"""After a batch of fewer events the coordinator waits until it is written: what comes meanwhile shares the next flush.
After a larger one it waits only for the batch before: so effects begin while the rest is still being decided."""

log = logging.getLogger("beluga_stream.coordinator")


@dataclass(frozen=True, slots=True)
class CoordinatorOptions:
    """Times in milliseconds, sizes in bytes, as `docs/configuration.md` has them; for the numbers see `Intake`."""

    lease_ms: int = 10_000
    tick_ms: int = 200
    dedup_window_ms: int = 86_400_000
    dedup_most: int = 25_000
    state_limit_bytes: int = 900_000
    record_limit_bytes: int = 990_000
    capacity: int = 100_000
    unanswered_most: int = 1_000
    resting_bytes: int = RESTING_BYTES
    workflows: bool = False
    """Whether somebody hosts the workflows of durable graphs."""


class Coordinator:
    """A `Role` over run-requests, run-events and node-done."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        tables: Tables,
        appender: Appender,
        reader: Reader,
        catalog: Catalog,
        payloads: Payloads,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
        spans: Spans = NO_SPANS,
        watches: Sequence[Watch] = (),
        options: CoordinatorOptions = CoordinatorOptions(),
    ) -> None:
        self.topics: tuple[str, ...] = (topics.run_requests, topics.run_events, topics.node_done)
        self._names = topics
        self._tables = tables
        self._appender = appender
        self._settlement = Settlement(appender)
        self._reader = reader
        self._catalog = catalog
        self._payloads = payloads
        self._clock = clock
        self._telemetry = telemetry
        self._options = options
        self._spans = spans
        self._renderer = Renderer(topics, spans, remembers_ms=options.dedup_window_ms)
        self._intake = Intake(options.capacity, options.unanswered_most)
        self._owned: dict[int, RunPartition] = {}
        self._decider = Decider(
            topics=topics,
            catalog=catalog,
            payloads=payloads,
            telemetry=telemetry,
            spans=spans,
            workflows=options.workflows,
        )
        # Starts may wait for long, and tell nothing of a run that goes on.
        telling = (topics.run_events, topics.node_done)
        deadlines = Deadlines(
            telling, topics.run_events, appender=appender, reader=reader, clock=clock, lease_ms=options.lease_ms
        )
        self._watches = (deadlines, *watches)
        self._limit_timers = LimitTimers(topics, appender, clock)

    @property
    def owned(self) -> Mapping[int, RunPartition]:
        """The partitions that this process holds now."""
        return self._owned

    @property
    def held_back(self) -> frozenset[str]:
        """No more starts for now, as `Intake` says; signals, cancels, outcomes and child runs flow on."""
        is_open = self._intake.is_open(self._owned.values(), self._clock.now_ms())
        return frozenset() if is_open else frozenset({self._names.run_requests})

    @property
    def yielding(self) -> frozenset[str]:
        """Starts: what has begun goes on first, so that a flood of them delays no signal and fills no memory."""
        return frozenset({self._names.run_requests})

    async def acquire(self, partitions: frozenset[int]) -> None:
        """Open each partition's table, rebuild deadlines and leases, and send unconfirmed intents again.

        Raises `TopicMismatch` for topics that are not those which the engine began with.
        """
        self._names.check_assigned(partitions, self.topics)
        await self._catalog.refresh()
        extents = [await extent_of(self._reader, topic) for topic in self.topics]
        acquiring = [asyncio.create_task(self._acquire(number, extents)) for number in sorted(partitions)]
        try:
            await asyncio.gather(*acquiring)
        except BaseException:
            # Nobody may go on to claim what is another's by then.
            for each in acquiring:
                each.cancel()
            await asyncio.gather(*acquiring, return_exceptions=True)
            raise

    async def release(self, partitions: frozenset[int]) -> None:
        """Drop the partitions, once what was decided about them is written and sent."""
        await self._settlement.finish()
        await self._drop(partitions)

    async def close(self) -> None:
        """Give what is under way a moment, drop everything."""
        await self._settlement.close(_CLOSE_SECONDS)
        await self._drop(frozenset(self._owned))

    async def _drop(self, partitions: frozenset[int]) -> None:
        for number in partitions:
            owned = self._owned.pop(number, None)
            if owned is not None:
                self._tell_owned(owned, -1)
                await owned.table.close()
        for watch in self._watches:
            watch.forget(partitions)

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        """Decide about a batch, and begin to write and send it; what is returned says when all is sent."""
        now = self._clock.now_ms()
        batches: dict[int, Batch] = {}
        for record in records:
            owned = self._owned.get(record.partition)
            if owned is None or (owned.offsets.repeats and owned.offsets.is_over(record)):
                continue
            batch = batches.get(owned.number)
            if batch is None:
                batch = batches[owned.number] = Batch(owned, now)
            await self._decider.take(batch, record)
            owned.offsets.read[record.topic] = record.offset + 1
        decided = [await self._sealed(batch) for batch in batches.values()]
        settled = self._settlement.begin(decided)
        if len(records) < _FEW:
            await written(decided)
        else:
            await self._settlement.only_latest()
        return settled

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """What is due counts as ripe by how far its partition was read: offsets without a record hold nothing up."""
        owned = self._owned.get(partition)
        if owned is not None:
            owned.offsets.passed(topic, offset)

    def _fitting(self, records: Sequence[Outgoing]) -> list[Outgoing]:
        """Those that may be sent. An owner of an earlier version may have decided on longer ones."""
        most = self._options.record_limit_bytes
        fitting = [record for record in records if len(record.value or b"") <= most]
        if len(fitting) < len(records):
            log.error(
                "left %d records of more than %d bytes unsent: what waits for them is dispatched again, or times out",
                len(records) - len(fitting),
                most,
                extra={"action": "unsent"},
            )
        return fitting

    async def _sealed(self, batch: Batch) -> Decided:
        """End the batch, and begin to write it."""
        owned = batch.owned
        overdue = owned.early.overdue(batch.now_ms - self._options.dedup_window_ms)
        for _ in overdue:
            self._telemetry.dead_letter("coordinator", NotFound.code)
        batch.answers.extend([await early.letter(each, owned.number, self._names, self._payloads) for each in overdue])
        writing = owned.write(await self._changes(batch))
        tracing.tell_when_durable(self._spans, batch.ended, writing)
        return Decided(owned, writing, owned.seal(), partial(self._rendered, batch))

    def _rendered(self, batch: Batch) -> Rendered:
        """What is left to do while the changelog is written."""
        outputs = batch.answers
        for plan, steps in batch.decided.values():
            outputs.extend(self._records_of(plan, steps, batch.now_ms, batch.owned.number))
        return self._parted(outputs)

    def _records_of(self, plan: Plan | None, steps: Sequence[Step], at_ms: int, partition: int) -> Sequence[Outgoing]:
        """The records that one run's steps cause; none when they cannot be made, which must not stop the others."""
        try:
            return self._renderer.render(plan, steps, at_ms, partition)
        except Exception:
            run = steps[-1].state.run
            log.exception(
                "a defect of the engine: what run %s causes could not be told",
                run,
                extra={"action": "untold", "run": run, "graph": steps[-1].state.graph},
            )
            return ()

    def _parted(self, records: Sequence[Outgoing]) -> Rendered:
        summaries = [record for record in records if record.topic == self._names.runs]
        return Rendered([record for record in records if record.topic != self._names.runs], summaries)

    async def tend(self) -> None:
        """Fire deadlines and expire leases, and whatever else `watches` for, for as long as the role lives."""
        while True:
            await self._limit_timers.rest(self._owned, self._options.tick_ms)
            for watch in self._watches:
                await watch.look(self._owned, self._clock.now_ms())

    async def _acquire(self, number: int, extents: Sequence[Extent]) -> None:
        table = await self._tables.open(number)
        try:
            self._owned[number] = await self._recovered(number, table, extents)
        except BaseException:
            # A release that comes meanwhile cancels this, and finds only what is owned.
            await table.close()
            raise

    async def _recovered(self, number: int, table: PartitionTable, extents: Sequence[Extent]) -> RunPartition:
        """The partition as its last owner left it; what that one may not have sent is sent again."""
        committed = await self._tables.committed(number)
        owned = RunPartition(number, table, self._options.resting_bytes)
        owned.take_up(committed, {extent.topic: extent.begins[number] for extent in extents})
        now = self._clock.now_ms()
        again: list[Outgoing] = []
        runs = 0
        async for kept in owned.recover(now):
            plan = self._catalog.plan(kept.state.definition)
            again.extend(self._records_of(plan, [Step(kept.state, kept.intents)], now, number))
            runs += 1
        again.extend(told(self._names, owned.limits.unconfirmed(owned.offsets.done[self._names.run_events], now)))
        for extent in extents:
            # The broker forgets what a group has committed of a topic that is deleted; the table does not.
            known = max(committed.get(extent.topic, 0), owned.offsets.known.get(extent.topic, 0))
            await check_not_recreated(self._reader, extent, number, known)
        outputs, summaries = self._parted(self._fitting(again))
        if outputs:
            await self._appender.append(outputs)
        if summaries:
            await owned.summaries.append(summaries)
        self._tell_owned(owned, +1)
        active = len(owned.runs)
        log.info(
            "acquired partition %d: %d runs under way, intents of %d sent again",
            number,
            active,
            runs,
            extra={"action": "acquire", "partition": number, "active": active, "resent": runs},
        )
        return owned

    def _tell_owned(self, owned: RunPartition, sign: int) -> None:
        for (definition, graph), count in owned.of_graph.items():
            plan = self._catalog.plan(definition)
            if plan is not None:
                self._telemetry.runs_owned(plan.definition.kind, graph, sign * count)

    async def _changes(self, batch: Batch) -> Sequence[tuple[str, bytes | None]]:
        """What the batch writes to the table; a run that has outgrown its row fails instead."""
        owned = batch.owned
        expired = owned.expired(batch.now_ms, self._options.dedup_window_ms, self._options.dedup_most)
        changes = owned.changes(expired)
        most = self._options.state_limit_bytes
        if too_large(changes, most):
            # It may be what is on its way that is so long, and not the run.
            await self._settlement.finish()
            for run, size in too_large(owned.changes(expired), most):
                await self._decider.give_up(batch, run, size, outgrown(size, most))
            changes = owned.changes(expired)
        if await self._unfit(batch):
            changes = owned.changes(expired)
        return changes

    async def _unfit(self, batch: Batch) -> bool:
        """Fail the runs of which a record would be too long, before that is decided for good; whether there is one."""
        found = False
        most = self._options.record_limit_bytes
        for run in batch.owned.wide(most):
            plan, steps = batch.decided.get(run, (None, ()))
            if not steps:
                continue
            records = self._records_of(plan, steps, batch.now_ms, batch.owned.number)
            longest = max(records, key=lambda record: len(record.value or b""), default=None)
            size = 0 if longest is None else len(longest.value or b"")
            if longest is not None and size > most:
                found = True
                await self._decider.give_up(batch, run, size, overlong(f"a record for {longest.topic}", size, most))
        return found
