"""The gatherer: owns partitions of gatherings and schedules, and starts what events start together, or a clock.

For each batch: decide in memory, write what changed to the changelog and wait, send what follows from it and wait,
and only then let the driver acknowledge, as the coordinator does. A start that may not have been sent is sent again by
whoever takes over the partition; its run's id is made of trigger, key and window (or time), so that it is one run.
"""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass

from ...domain.gathering import EventArrived
from ...domain.ticks import TicksDue
from ...errors import InvalidInput, LogUnavailable
from ...ports.clock import Clock
from ...ports.handlers import Deployment, Schedule
from ...ports.log import Appender, Outgoing, Reader, Record, Tables, Workers
from ...ports.spans import NO_SPANS, Spans
from ...ports.telemetry import NO_TELEMETRY, Telemetry
from .. import codec
from ..deadletters import Refusals
from ..extent import Extent, check_not_recreated, extent_of
from ..payloads import Payloads
from ..topics import Topics
from .arriving import check_place
from .gathered import Gathered
from .gatherings import Firing, Gatherings
from .horizon import Horizon
from .schedules import schedule_id

log = logging.getLogger("beluga_stream.gatherer")


@dataclass(frozen=True, slots=True)
class GathererOptions:
    """Times in milliseconds. `keep_ms` and `keep_most` bound what is remembered of what is over, for a partition."""

    tick_ms: int = 200
    keep_ms: int = 86_400_000
    keep_most: int = 25_000


class Gatherer:
    """A `Role` over `beluga.trigger-events`. It runs users' code: the mappings of its triggers."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        deployment: Deployment,
        tables: Tables,
        appender: Appender,
        reader: Reader,
        ingest: Workers,
        payloads: Payloads,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
        spans: Spans = NO_SPANS,
        options: GathererOptions = GathererOptions(),
    ) -> None:
        self.topics: tuple[str, ...] = (topics.trigger_events,)
        self._names = topics
        self._tables = tables
        self._appender = appender
        self._reader = reader
        self._clock = clock
        self._options = options
        self._refusals = Refusals("gatherer", topics.dead_letters, payloads, telemetry)
        self._gathered = Gathered(topics, deployment, payloads, telemetry, spans)
        self._horizon = Horizon(topics, appender=appender, reader=reader, ingest=ingest)
        self._owned: dict[int, Gatherings] = {}
        kept = {(trigger.graph, trigger.name): trigger for trigger in deployment.triggers if trigger.is_kept}
        self._sources = {name: trigger.sources for name, trigger in kept.items()}
        self._ticking = {name for name, trigger in kept.items() if trigger.schedule is not None}
        self._schedules: dict[int, dict[tuple[str, str], Schedule]] = defaultdict(dict)
        for name, trigger in kept.items():
            if trigger.schedule is not None:
                self._schedules[topics.place(schedule_id(*name))[1]][name] = trigger.schedule

    @property
    def owned(self) -> Mapping[int, Gatherings]:
        """The partitions that this process holds now."""
        return self._owned

    @property
    def held_back(self) -> frozenset[str]:
        """Nothing: what waits lies in the table."""
        return frozenset()

    yielding = held_back

    async def acquire(self, partitions: frozenset[int]) -> None:
        """Open each partition's table, and send again what may not have been sent.

        Raises `TopicMismatch` when the topic has got more partitions.
        """
        self._names.check_assigned(partitions, self.topics)
        extent = await extent_of(self._reader, self._names.trigger_events)
        for number in sorted(partitions):
            await self._acquire(number, extent)

    async def release(self, partitions: frozenset[int]) -> None:
        """Drop the partitions: nothing is under way between two batches."""
        self._horizon.forget(partitions)
        for number in partitions:
            owned = self._owned.pop(number, None)
            if owned is not None:
                await owned.table.close()

    async def close(self) -> None:
        await self.release(frozenset(self._owned))

    async def tend(self) -> None:
        """Look at the clock, for as long as the role lives."""
        while True:
            await self._clock.sleep(self._options.tick_ms / 1000)
            now = self._clock.now_ms()
            await self._tick(now)
            await self._horizon.look(self._owned, self._sources, now)

    async def _tick(self, now: int) -> None:
        """Say which schedules are due."""
        events = [
            Outgoing(self._names.trigger_events, due.key.encode(), codec.gathering_events.encode(due), partition=number)
            for number, owned in self._owned.items()
            for due in owned.schedules.due(self._schedules[number], now)
        ]
        if events:
            await self._appender.append(events)

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        """Take a batch: when this returns, all that it caused is durable."""
        now = self._clock.now_ms()
        fired: dict[int, list[Firing]] = {}
        outputs: list[Outgoing] = []
        for record in records:
            owned = self._owned.get(record.partition)
            if owned is None:
                continue
            try:
                firing, refusal = await self._apply(owned, record, now)
            except LogUnavailable:
                raise  # no fault of the record: it comes again
            except Exception as error:  # noqa: BLE001 - it would come again, and end every process that takes it
                outputs.append(await self._refusals.letter(record, error))
            else:
                outputs.extend(refusal)
                if firing is not None:
                    fired.setdefault(owned.number, []).append(firing)
            owned.read = record.offset + 1
        for number in {record.partition for record in records} & self._owned.keys():
            await self._write(self._owned[number], now)
        for number, firings in fired.items():
            outputs.extend(await self._starts(self._owned[number], firings, now))
        if outputs:
            await self._appender.append(outputs)
        for number, firings in fired.items():
            self._owned[number].sent([firing for firing in firings if not firing.row.parked], now)
        return None

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """A time is over by how far its partition was read: offsets without a record hold nothing up."""
        owned = self._owned.get(partition)
        if owned is not None:
            owned.read = offset

    async def _apply(self, owned: Gatherings, record: Record, now: int) -> tuple[Firing | None, Sequence[Outgoing]]:
        event = codec.gathering_events.decode(record.value)
        if record.key != event.key.encode():
            raise InvalidInput(f"a {event.type} of {event.key} has another record key than its member `key` says")
        if not event.key.isalnum():
            raise InvalidInput(f"a {event.type} has the key {event.key[:128]!r}, which is no gathering's or schedule's")
        if isinstance(event, TicksDue):
            # Code that does not know the schedule does nothing: the next owner says again what is due.
            known = (event.graph, event.trigger) in self._ticking
            row = owned.schedules.apply(event, record.offset) if known else None
            return None, () if row is None else await self._gathered.ticked(row, now)
        if isinstance(event, EventArrived):
            check_place(event.place)
        effect = owned.apply(event, record.offset, now)
        if effect.refused is None:
            return effect.fired, ()
        assert isinstance(event, EventArrived), "nothing else is refused"
        return None, await self._gathered.refuse(event, effect.refused)

    async def _write(self, owned: Gatherings, now: int) -> None:
        changes = owned.changes(now)
        if changes:
            await owned.table.commit(changes)
        owned.written()

    async def _starts(self, owned: Gatherings, firings: Sequence[Firing], now: int) -> list[Outgoing]:
        """The records that gatherings which have ended lead to."""
        outputs: list[Outgoing] = []
        for firing in firings:
            if firing.row.parked:
                log.error(
                    "trigger %s of graph %s is not deployed here: its events wait until it is",
                    firing.row.trigger,
                    firing.row.graph,
                    extra={"action": "trigger_missing", "trigger": firing.row.trigger, "graph": firing.row.graph},
                )
            else:
                outputs.extend(await self._gathered.start(firing, owned.items(firing), now))
        return outputs

    async def _acquire(self, number: int, extent: Extent) -> None:
        table = await self._tables.open(number)
        try:
            now = self._clock.now_ms()
            committed = (await self._tables.committed(number)).get(extent.topic, 0)
            await check_not_recreated(self._reader, extent, number, committed)
            options = self._options
            owned = Gatherings(
                number,
                table,
                keep_ms=options.keep_ms,
                most=options.keep_most,
                deployed=lambda graph, trigger: (graph, trigger) in self._sources,
            )
            again = list(owned.recover(committed, now))
            # What retention has removed counts as read, or no time would ever be over.
            owned.read = max(extent.begins[number], committed)
            outputs = [
                each for firing in again for each in await self._gathered.start(firing, owned.items(firing), now)
            ]
            for row in owned.schedules.unconfirmed(committed):
                if (row.graph, row.trigger) in self._ticking:
                    outputs.extend(await self._gathered.ticked(row, now))
                else:
                    owned.schedules.take_back(row)
            if outputs:
                await self._appender.append(outputs)
            owned.sent(again, now)
            await self._write(owned, now)
        except BaseException:
            # A release that comes meanwhile cancels this, and finds only what is owned.
            await table.close()
            raise
        self._owned[number] = owned
        log.info(
            "acquired partition %d: %d gatherings wait, %d starts sent again",
            number,
            len(owned.open),
            len(again),
            extra={"action": "acquire", "partition": number, "active": len(owned.open), "resent": len(again)},
        )
