"""The two kinds of lines of a bus over Kafka: a reader of its own, and a member of a consumer group."""

# ruff: noqa: SLF001 - aiokafka has no place for what members know of their group (contract test: test_kafka_internals)

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from ...bounds import within
from ...errors import LogUnavailable
from ...ports.bus import Delivery, Parcel, Release
from ...ports.log import Record
from .bus_sharing import Sharing
from .closing import close
from .connection import KafkaConnection
from .consumer import PromptConsumer
from .reader import KafkaReader
from .refusal import refusal

_MOST_RECORDS = 500
_POLL_MS = 500
_COMMIT_SECONDS = 0.2
_COMMIT_MOST_SECONDS = 5.0
_PLACED_SECONDS = 60.0
_GRACE_SECONDS = 5.0
_SETTLED_SECONDS = 0.5
"""By then all members know their shares: the embedded broker loses those that do not when it is to share out anew."""

_HANDOVER_SECONDS = 60.0
"""How long handlers may go on with what is to be another member's, which waits for them."""

_REBALANCE_MS = 15_000
_A_DAY_MS = 24 * 3_600_000
"""A handler may take as long as its own timeout says: that nothing is polled meanwhile is no sign of death."""

log = logging.getLogger("beluga_stream.bus")

Sort = Callable[[Record], Parcel | None]
"""The parcel of a record; None when this line does not want it."""


class ReaderLine:
    """Reads these partitions from here on, in no group: for subscribers that want everything, and for inboxes."""

    ahead = 4

    def __init__(self, reader: KafkaReader, topic: str, start: Mapping[int, int], sort: Sort) -> None:
        self._reader = reader
        self._topic = topic
        self._next = dict(start)
        self._sort = sort
        self._batches: AsyncGenerator[Sequence[Record], None] | None = None
        self._buffer: deque[Delivery] = deque()

    async def take(self) -> Delivery:
        while not self._buffer:
            if self._batches is None:
                self._batches = self._reader.read(self._topic, self._next)
            try:
                records = await anext(self._batches)
            except BaseException:
                await self._forget()
                raise
            for record in records:
                self._next[record.partition] = record.offset + 1
                parcel = self._sort(record)
                if parcel is not None:
                    self._buffer.append(Delivery(parcel, _place(record)))
        return self._buffer.popleft()

    def done(self, delivery: Delivery) -> None:
        """Nothing: a line of its own keeps no place."""

    async def close(self) -> None:
        await self._forget()

    async def _forget(self) -> None:
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.aclose()


class GroupLine(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
    """A member of a consumer group. What is done is committed soon, up to the first message that is not.

    While the group is shared out, it goes on with what it holds: see `bus_sharing`.
    """

    ahead = 4

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        group: str,
        *,
        sort: Sort,
        release: Release,
        session_seconds: float,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._sort = sort
        self._release = release
        self._session_seconds = session_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._buffer: deque[Delivery] = deque()
        self._undone: dict[TopicPartition, dict[int, Delivery]] = {}
        self._places: dict[Delivery, tuple[TopicPartition, int]] = {}
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._placed = asyncio.Event()
        self._changed = asyncio.Event()
        self._committing: asyncio.Task[None] | None = None
        self._unplaced: set[TopicPartition] = set()
        self._leaving: set[TopicPartition] = set()
        self._giving_up: set[asyncio.Task[None]] = set()
        self._sharing = Sharing(topic, self._held)

    async def start(self) -> None:
        """Join the group, and wait until what is sent from now on comes to it. Raises `LogUnavailable`."""
        consumer = PromptConsumer(
            **self._connection.client_settings("bus"),
            group_id=self._group,
            enable_auto_commit=False,
            # Of a place that retention has removed, the first that is left; where a new group begins: `_place`.
            auto_offset_reset="earliest",
            session_timeout_ms=int(self._session_seconds * 1000),
            heartbeat_interval_ms=int(self._session_seconds * 1000 / 4),
            max_poll_interval_ms=_A_DAY_MS,
            rebalance_timeout_ms=_REBALANCE_MS,
            partition_assignment_strategy=(self._sharing,),
            fetch_max_wait_ms=200,
        )
        consumer.subscribe([self._topic], listener=self)
        self._consumer = consumer
        try:
            async with within(_PLACED_SECONDS):
                await consumer.start()
                await self._placed.wait()
                await self._place_rest()
        except (KafkaError, TimeoutError, OSError) as error:
            await self._stop()
            what = f"cannot join the group {self._group}"
            raise refusal(self._connection, what, error, f"Read on group {self._group}") from error
        except BaseException:
            await self._stop()
            raise
        self._committing = asyncio.create_task(self._commit_soon(), name="bus-commit")

    async def take(self) -> Delivery:
        consumer = self._connected()
        while not self._buffer:
            await self._placed.wait()
            try:
                await self._place_rest()
                before = dict(self._undone)
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
            except (KafkaError, OSError) as error:
                raise refusal(self._connection, f"cannot read {self._topic}", error) from error
            for at, records in fetched.items():
                if at not in self._next or at in self._leaving:
                    continue
                if self._undone[at] is not before.get(at):
                    # Its place was found while they were on their way: they may be from before it, or from behind it.
                    self._unplaced.add(at)
                    continue
                for record in records:
                    if record.offset >= self._next[at]:
                        self._came(at, record)
        return self._buffer.popleft()

    def done(self, delivery: Delivery) -> None:
        at, offset = self._places.pop(delivery, (None, 0))
        if at is not None:
            del self._undone[at][offset]
            self._changed.set()

    async def close(self) -> None:
        tasks = {*self._giving_up} if self._committing is None else {*self._giving_up, self._committing}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._commit_last()
        await self._stop()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """aiokafka's: before the group is shared out anew."""
        self._placed.clear()
        if self._is_member():
            await self._commit()
        else:
            # It was silent for so long that others may have everything by now.
            everything = tuple(self._next)
            await self._leave(everything, _GRACE_SECONDS)
            await self._commit()
            self._forget(everything)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """aiokafka's: these partitions are ours now."""
        lost = [at for at in self._next if at not in assigned or at.partition not in self._sharing.told]
        await self._leave(lost, 0)
        self._forget(lost)
        self._unplaced = set(assigned)
        try:
            await self._place_rest()
        except (KafkaError, OSError) as error:
            # Whoever takes the next message tries again.
            told = "%s does not know its place yet: %r"
            log.warning(told, self._group, error, extra={"action": "bus.away"})
        self._placed.set()
        self._changed.set()
        self._give_up_soon(self._sharing.too_many - len(self._leaving))

    def _give_up_soon(self, count: int) -> None:
        """Let others have so many more of its partitions: those that have the least to do."""
        staying = sorted(self._next.keys() - self._leaving, key=lambda at: len(self._undone[at]))
        leaving = staying[: max(count, 0)]
        if leaving:
            self._connected().pause(*leaving)
            self._leaving.update(leaving)
            task = asyncio.create_task(self._give_up(leaving), name="bus-giving-up")
            self._giving_up.add(task)
            task.add_done_callback(self._giving_up.discard)

    async def _give_up(self, leaving: Collection[TopicPartition]) -> None:
        held = {at: self._undone[at] for at in leaving}
        await self._leave(leaving, _HANDOVER_SECONDS)
        await self._commit_last()
        # What was lost meanwhile may be here again, and begun anew.
        self._forget([at for at, undone in held.items() if self._undone.get(at) is undone])
        await asyncio.sleep(_SETTLED_SECONDS)
        self._connected()._coordinator.request_rejoin()

    async def _leave(self, lost: Collection[TopicPartition], grace: float) -> None:
        """Begin nothing of these any more, and let handlers end what they are at."""
        self._leaving.update(lost)
        self._buffer = deque(each for each in self._buffer if self._places[each][0] not in lost)
        if lost:
            await self._release({at.partition for at in lost}, grace)

    def _forget(self, lost: Collection[TopicPartition]) -> None:
        for held in (self._undone, self._next, self._committed):
            for at in lost:
                held.pop(at, None)
        self._places = {each: place for each, place in self._places.items() if place[0] not in lost}
        self._leaving.difference_update(lost)

    def _held(self) -> Collection[int]:
        """The partitions that it has, and others may not have yet."""
        return {at.partition for at in self._next} if self._is_member() else ()

    def _is_member(self) -> bool:
        """Whether the group knows it, as far as we know."""
        return self._consumer is not None and self._consumer._coordinator.generation >= 0

    async def _place_rest(self) -> None:
        for at in tuple(self._unplaced):
            await self._place(at)

    async def _place(self, at: TopicPartition) -> None:
        """Where to go on; a new group begins at the end, and says so at once, or its first crash would move it."""
        consumer = self._connected()
        if at not in self._next:
            start = await consumer.committed(at)
            if start is None:
                start = (await consumer.end_offsets([at]))[at]
                await consumer.commit({at: start})
            if at not in self._unplaced:
                return  # it was found meanwhile, or is somebody else's now
            self._undone[at] = {}
            self._next[at] = self._committed[at] = start
        consumer.seek(at, self._next[at])
        self._unplaced.discard(at)

    def _came(self, at: TopicPartition, record: Any) -> None:
        self._next[at] = record.offset + 1
        parcel = self._sort(
            Record(
                record.topic,
                at.partition,
                record.offset,
                record.key,
                record.value,
                record.timestamp,
                tuple(record.headers),
            )
        )
        if parcel is None:
            self._changed.set()
            return
        delivery = Delivery(parcel, _place(record), at.partition)
        self._undone[at][record.offset] = delivery
        self._places[delivery] = (at, record.offset)
        self._buffer.append(delivery)

    async def _commit_soon(self) -> None:
        while True:
            await self._changed.wait()
            await self._placed.wait()  # until then a commit would be refused
            self._changed.clear()
            await self._commit()
            await asyncio.sleep(_COMMIT_SECONDS)

    async def _commit_last(self) -> None:
        """Commit before others go on from there, though the group may be being shared out just now."""
        with suppress(TimeoutError):
            async with within(_COMMIT_MOST_SECONDS):
                await self._placed.wait()
                while not await self._commit():
                    await asyncio.sleep(_COMMIT_SECONDS)
                    await self._placed.wait()

    async def _commit(self) -> bool:
        """Say what is done. False: the group is being shared out, and does not take it now."""
        offsets = {at: min(self._undone[at], default=following) for at, following in self._next.items()}
        offsets = {at: offset for at, offset in offsets.items() if offset > self._committed[at]}
        if not offsets or self._consumer is None:
            return True
        try:
            async with within(_COMMIT_MOST_SECONDS):
                await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.debug("%s: the group has been shared out anew: %s", self._group, error)
            return False
        except (KafkaError, TimeoutError, OSError) as error:
            # What was done comes again if this process ends before the next one.
            log.warning("%s: what is done could not be said: %r", self._group, error, extra={"action": "bus.commit"})
        else:
            for at, offset in offsets.items():
                if at in self._committed:
                    self._committed[at] = offset
        return True

    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise LogUnavailable(f"the line of {self._group} is closed")
        return self._consumer

    async def _stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            self._next.clear()
            with suppress(KafkaError, OSError):
                await close(consumer)


def _place(record: Any) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
