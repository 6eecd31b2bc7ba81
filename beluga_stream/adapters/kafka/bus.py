"""A bus over Kafka: port `Carrier` on one topic, whose log is the buffer of every subscriber.

Every subscriber reads the whole topic and leaves out what its pattern does not want; an inbox reads its partition only.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from ...application.bus.parcels import is_letter_of, letter_of, parcel_of, record_of
from ...application.deadletters import dead_letter, letter_id, marked, marker, original
from ...application.partitioner import partition_of
from ...application.payloads import Payloads
from ...bounds import in_time
from ...domain.subjects import INBOX, Pattern
from ...errors import AccessDenied, BelugaError, LogUnavailable, NotFound
from ...ports.bus import DeadLetter, Delivery, Line, Parcel, Release
from ...ports.log import Outgoing, Record, TopicSpec
from . import bus_groups
from .admin import KafkaTopics
from .appender import KafkaAppender
from .bus_lines import GroupLine, ReaderLine
from .connection import KafkaConnection
from .reader import KafkaReader

log = logging.getLogger("beluga_stream.bus")


class KafkaCarrier:
    """See the module. `specs` declare the topic of messages and, after it, that of dead letters; both are created.

    A member of a group that is silent for `session_seconds` has lost its messages to the others.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        specs: tuple[TopicSpec, TopicSpec],
        payloads: Payloads,
        *,
        session_seconds: float = 10.0,
    ) -> None:
        self._connection = connection
        self._specs = specs
        self._topic, self._dead_letters = (spec.name for spec in specs)
        self._payloads = payloads
        self._session_seconds = session_seconds
        self._stack = AsyncExitStack()
        self._appender: KafkaAppender | None = None
        self._reader: KafkaReader | None = None

    @property
    def where(self) -> str:
        return f"Kafka at {self._connection.where}"

    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            async with KafkaTopics(self._connection) as admin:
                await admin.ensure(self._specs)
            self._appender = await stack.enter_async_context(KafkaAppender(self._connection))
            self._reader = await stack.enter_async_context(KafkaReader(self._connection))
            self._stack = stack.pop_all()

    async def close(self) -> None:
        self._appender = self._reader = None
        await self._stack.aclose()

    async def check(self) -> None:
        await self._reading().end(self._topic)

    async def send(self, parcel: Parcel, timeout: float) -> None:  # noqa: ASYNC109 - see the port
        late = f"a message of {parcel.subject} was not confirmed within {timeout:g} s"
        async with in_time(timeout, lambda: LogUnavailable(late)):
            await self._append(record_of(self._topic, parcel))

    async def attach(self, pattern: Pattern, group: str | None, subscriber: str, release: Release) -> Line:
        def sort(record: Record) -> Parcel | None:
            parcel = parcel_of(record)
            return parcel if parcel is not None and pattern.matches(parcel.subject) else None

        if group is not None:
            named = self._named(group, pattern)
            line = GroupLine(
                self._connection, self._topic, named, sort=sort, release=release, session_seconds=self._session_seconds
            )
            await line.start()
            return line
        start = await self._reading().end(self._topic)
        if pattern.words[0] == INBOX:
            own = partition_of(pattern.text.encode(), len(start))
            start = {own: start[own]}
        return ReaderLine(self._reading(), self._topic, start, sort)

    async def keeps(self, group: str, pattern: Pattern) -> bool:
        try:
            return await bus_groups.has_place(self._connection, self._named(group, pattern))
        except AccessDenied:
            return True  # whoever sends to a group need not be allowed to look at it

    async def forget(self, group: str, pattern: Pattern) -> None:
        await bus_groups.forget(self._connection, self._named(group, pattern))

    async def refuse(self, delivery: Delivery, error: BelugaError, subscriber: str) -> None:
        sent = record_of(self._topic, replace(delivery.parcel, only=subscriber))
        partition, offset = delivery.place.rsplit("/", 2)[1:]
        record = Record(self._topic, int(partition), int(offset), sent.key, sent.value, 0, sent.headers)
        await self._append(await dead_letter(self._dead_letters, record, error, self._payloads))

    async def letters(self) -> Sequence[DeadLetter]:
        reader = self._reading()
        start, end = await reader.beginning(self._dead_letters), await reader.end(self._dead_letters)
        found = [record async for batch in reader.read(self._dead_letters, start, until=end) for record in batch]
        settled = {marked(record) for record in found}
        left = [record for record in found if letter_id(record) not in settled]
        told = [await self._letter(record) for record in sorted(left, key=lambda record: record.timestamp_ms)]
        return [letter for letter in told if letter is not None]

    async def settle(self, letter: DeadLetter) -> None:
        await self._append(marker(self._dead_letters, letter.id, "replayed", int(time.time() * 1000)))

    def _named(self, group: str, pattern: Pattern) -> str:
        """The consumer group. A group of the bus may have dots, and no @: so no two of them are one."""
        return f"{self._topic}.{group}@{pattern.text}"

    async def _letter(self, record: Record) -> DeadLetter | None:
        """What the record tells, a large one from the blob store; None when that is gone, or it is not the bus's."""
        if not is_letter_of(record, self._topic):
            return None
        try:
            key, value, headers = await original(record, self._payloads)
        except NotFound as error:
            log.warning("a dead letter is not there any more: %s", error, extra={"action": "bus.letters"})
            return None
        return letter_of(record, record._replace(key=key, value=value, headers=headers))

    async def _append(self, record: Outgoing) -> None:
        if self._appender is None:
            raise LogUnavailable("the bus is closed")
        await self._appender.append([record])

    def _reading(self) -> KafkaReader:
        if self._reader is None:
            raise LogUnavailable("the bus is closed")
        return self._reader
