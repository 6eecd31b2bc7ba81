"""Reading single partitions outside any group: result streams, definitions, control."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from ...bounds import within
from ...errors import LogUnavailable, TopicMissing
from ...ports.log import Record
from .admin import KafkaTopics
from .closing import close
from .connection import KafkaConnection
from .consumer import PromptConsumer
from .patience import Patience
from .refusal import refusal
from .rights import hidden

_Fetched = Mapping[TopicPartition, Sequence[Any]]

_START_SECONDS = 5.0
"""How long a consumer that nobody wants any more may take to come to the end of its start."""


_WAIT_MS = 200
"""How long the broker may hold a fetch back while there is nothing: it answers at once when there is."""


class KafkaReader:
    """Port `Reader` on Kafka. Start it before use.

    Every `read` has a consumer of its own, closed with the iterator. `max_records` bounds a batch,
    `timeout` (seconds) each question about offsets and each wait for what is known to be there, and so does `patience`
    where it is given. With `committed_only` a topic ends before the first transaction that is open, and what aborted
    ones have written is not there.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        max_records: int = 1000,
        timeout: float = 30.0,
        patience: Patience | None = None,
        committed_only: bool = False,
    ) -> None:
        self._connection = connection
        self._isolation = "read_committed" if committed_only else "read_uncommitted"
        self._max_records = max_records
        self._patience = patience or Patience(connection.where, timeout, insists=False)
        self._timeout = min(timeout, self._patience.seconds)
        self._topics = KafkaTopics(connection, timeout=self._timeout, patience=self._patience)
        self._consumer: AIOKafkaConsumer | None = None
        self._counts: dict[str, int] = {}
        self._counting = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises `LogUnavailable`."""
        await self._topics.start()
        try:
            self._consumer = await self._patience.insist("connecting", lambda: self._new_consumer("reader"))
        except (KafkaError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"cannot connect to Kafka: {error!r}") from error

    async def stop(self) -> None:
        """Disconnect. Iterators that are still open keep their consumers until they are closed."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await close(consumer)
        await self._topics.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def partitions(self, topic: str) -> int:
        """See the port. Remembered, since a topic of the engine never changes its count."""
        if topic not in self._counts:
            try:
                # The answer names all topics of the cluster: of thousands that begin to read at once one asks. Whoever
                # waits for it waits no longer than for an answer to itself.
                async with within(self._timeout), self._counting:
                    if topic not in self._counts:
                        self._counts[topic] = await self._counted(topic)
            except TimeoutError as error:
                raise LogUnavailable(f"cannot list topics: no answer in {self._timeout:g} s") from error
        return self._counts[topic]

    async def _counted(self, topic: str) -> int:
        found = await self._topics.describe([topic])
        if topic not in found:
            if topic in await hidden(self._connection, [topic]):
                denied = TopicAuthorizationFailedError(topic)
                raise refusal(self._connection, f"cannot read {topic}", denied, f"Read on topic {topic}")
            raise TopicMissing(f"topic {topic} does not exist: `beluga topics apply` creates it", topic=topic)
        return found[topic]

    async def check(self) -> None:
        """Ask the broker for what it knows of no topic in particular. Raises what its client does."""
        await self._topics.describe([])

    async def end(self, topic: str) -> Mapping[int, int]:
        """See the port."""
        targets = await self._targets(topic)
        consumer = self._connected()
        try:
            offsets = await self._patience.insist(f"the end of {topic}", lambda: consumer.end_offsets(targets))
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, f"cannot read the end of {topic}", error) from error
        return {target.partition: offset for target, offset in offsets.items()}

    async def beginning(self, topic: str) -> Mapping[int, int]:
        """See the port."""
        targets = await self._targets(topic)
        consumer = self._connected()
        try:
            offsets = await self._patience.insist(
                f"the beginning of {topic}", lambda: consumer.beginning_offsets(targets)
            )
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, f"cannot read the beginning of {topic}", error) from error
        return {target.partition: offset for target, offset in offsets.items()}

    async def at_time(self, topic: str, timestamp_ms: int) -> Mapping[int, int]:
        """See the port."""
        targets = await self._targets(topic)
        consumer = self._connected()
        ends = await self.end(topic)
        try:
            # What somebody else's clock says may lie before all time.
            times = dict.fromkeys(targets, max(timestamp_ms, 0))
            found = await self._patience.insist(f"a time in {topic}", lambda: consumer.offsets_for_times(times))
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, f"cannot look up a time in {topic}", error) from error
        offsets: dict[int, int] = {}
        for target in targets:
            at = found.get(target)
            offsets[target.partition] = ends[target.partition] if at is None else at.offset
        return offsets

    async def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See the port. An offset that retention has removed reads from the first that is left.

        Without `until` an empty batch comes about once a second, so that a reader can look up. With it there is
        always something to come: raises `LogUnavailable` when nothing does for as long as patience lasts.
        """
        await self.partitions(topic)
        open_ended = until is None
        left = {p: (None if until is None else until.get(p, 0)) for p in start}
        left = {p: end for p, end in left.items() if end is None or start[p] < end}
        if not left:
            return
        try:
            consumer = await self._patience.insist(f"reading {topic}", lambda: self._new_consumer("read"))
        except (KafkaError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"cannot read {topic}: {error!r}") from error
        try:
            consumer.assign([TopicPartition(topic, p) for p in left])
            for partition in left:
                consumer.seek(TopicPartition(topic, partition), start[partition])
            while left:
                targets = [TopicPartition(topic, p) for p in left]
                if open_ended:
                    fetched = await self._fetch(consumer, targets)
                    positions: Mapping[TopicPartition, int] = {}
                else:
                    async with self._patience.waiting(f"reading {topic}"):
                        fetched, positions = await self._advance(consumer, targets)
                batch = [
                    Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers))
                    for records in fetched.values()
                    for r in records
                    if (end := left[r.partition]) is None or r.offset < end
                ]
                if batch or open_ended:
                    yield batch
                for target, position in positions.items():
                    # The position, not the last record: compaction leaves gaps.
                    if position >= (left[target.partition] or 0):
                        del left[target.partition]
        except TimeoutError as error:
            silent = f"Kafka at {self._connection.where} has sent nothing for {self._patience.seconds:g} s"
            raise LogUnavailable(f"cannot read {topic}: {silent}") from error
        except (KafkaError, OSError) as error:
            raise refusal(self._connection, f"cannot read {topic}", error, f"Read on topic {topic}") from error
        finally:
            await close(consumer)

    async def _fetch(self, consumer: AIOKafkaConsumer, targets: Sequence[TopicPartition]) -> _Fetched:
        fetched: _Fetched = await consumer.getmany(*targets, timeout_ms=1000, max_records=self._max_records)
        return fetched

    async def _advance(
        self, consumer: AIOKafkaConsumer, targets: Sequence[TopicPartition]
    ) -> tuple[_Fetched, Mapping[TopicPartition, int]]:
        """The next records, and the positions after them; these may move on alone, where compaction left nothing."""
        before = {target: await consumer.position(target) for target in targets}
        while True:
            fetched = await self._fetch(consumer, targets)
            positions = {target: await consumer.position(target) for target in targets}
            if fetched or positions != before:
                return fetched, positions

    async def _targets(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for p in range(await self.partitions(topic))]

    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise LogUnavailable("the reader is not started")
        return self._consumer

    async def _new_consumer(self, purpose: str) -> AIOKafkaConsumer:
        consumer = PromptConsumer(
            **self._connection.client_settings(purpose),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_WAIT_MS,
            isolation_level=self._isolation,
        )
        starting = asyncio.ensure_future(consumer.start())
        try:
            await asyncio.shield(starting)
        except BaseException:
            # Cancelled in the midst of it, aiokafka forgets its first connection: so it comes to its end.
            await asyncio.wait({starting}, timeout=_START_SECONDS)
            starting.cancel()
            await close(consumer)
            raise
        return consumer
