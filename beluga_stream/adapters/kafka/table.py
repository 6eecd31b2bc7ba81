"""The compacted table of runs: per owned partition a changelog, one fenced writer, and a store."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from ...bounds import within
from ...errors import BelugaError, Fenced, LogUnavailable
from ...ports.log import Outgoing, Position
from .closing import close
from .connection import KafkaConnection
from .consumer import PromptConsumer
from .courier import Courier
from .fence import FencedProducer, broker_fences
from .patience import Patience
from .refusal import refusal
from .store import Change, MemoryStore, Store, StoreFactory

log = logging.getLogger(__name__)

CLAIM_KEY = "~claim"
_CLAIM_INTERVAL = 3600.0
_FETCH_BYTES = 8 << 20
_AT_A_TIME = 2_000


class KafkaPartitionTable:
    """Port `PartitionTable`: a store that shows only what its changelog holds durably.

    Made by `KafkaTables.open`. After any failed commit it stays unusable, since what the changelog
    holds is then unknown.
    """

    def __init__(  # noqa: PLR0913 - it is made in one place, by name
        self,
        target: TopicPartition,
        owner: str,
        producer: FencedProducer,
        store: Store,
        *,
        group: str,
        claim_interval: float = _CLAIM_INTERVAL,
        on_close: Callable[["KafkaPartitionTable"], None] = lambda _: None,
    ) -> None:
        self.partition: int = target.partition
        self._target = target
        self._owner = owner
        self._producer = producer
        self._store = store
        self._group = group
        self._claim_interval = claim_interval
        self._on_close = on_close
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None
        self._claiming: asyncio.Task[None] | None = None

    def get(self, key: str) -> bytes | None:
        return self._store.get(key)

    def items(self) -> Iterable[tuple[str, bytes]]:
        return self._store.items()

    async def commit(self, changes: Sequence[Change]) -> None:
        """See the port. Raises `RecordTooLarge` before anything is written, and nothing is written after it."""
        if not changes:
            return
        async with self._writing:
            await self._write(changes)
            try:
                self._store.apply(changes)
            except Exception as error:
                self._failure = error
                raise

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """See the port. Beside the commits: it holds none of them up."""
        return await self._producer.append(records)

    async def renew(self) -> None:
        """Have the broker go on remembering who owns the partition. Raises `Fenced` and `LogUnavailable`."""
        try:
            await self._producer.renew(self._group)
        except Fenced as error:
            self._failure = error
            raise

    async def claim(self) -> int:
        """Write that this process owns the partition; return the claim's offset."""
        async with self._writing:
            stamp = f"{self._owner} {int(time.time())}".encode()
            return await self._write([(CLAIM_KEY, stamp)])

    async def recover(self, connection: KafkaConnection, end: int) -> int:
        """Fill the store from the changelog up to `end`; return how many records that took."""
        consumer = PromptConsumer(
            **connection.client_settings(f"recovery-{self.partition}"),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        target = self._target
        count = 0
        try:
            await consumer.start()
            consumer.assign([target])
            await consumer.seek_to_beginning(target)
            while await consumer.position(target) < end:
                fetched = await consumer.getmany(target, timeout_ms=1000, max_records=_AT_A_TIME)
                for records in fetched.values():
                    count += len(records)
                    self._store.apply(
                        [
                            (r.key.decode(), r.value)
                            for r in records
                            if r.key is not None and r.key != CLAIM_KEY.encode()
                        ]
                    )
        finally:
            await close(consumer)
        return count

    def keep_claiming(self) -> None:
        """Claim again at every interval, and renew the id that this writes by.

        The broker forgets a producer that was silent for a day, and an id that was in no transaction for a week, and
        with either of them the fence; then a process that slept longer could write again.
        """
        self._claiming = asyncio.create_task(self._claim_again(), name=f"claim-{self._target.topic}-{self.partition}")

    async def close(self) -> None:
        """Drop the local copy and release the producer."""
        self._on_close(self)
        if self._claiming is not None:
            self._claiming.cancel()
            await asyncio.wait([self._claiming], timeout=5.0)
        await self._producer.stop()
        self._store.close()

    async def _claim_again(self) -> None:
        while self._failure is None:
            await asyncio.sleep(self._claim_interval)
            try:
                await self.claim()
                await self.renew()
            except (Fenced, LogUnavailable):
                # What must end the process is kept in _failure: the next commit raises it.
                log.exception(
                    "could not renew the claim of partition %d",
                    self.partition,
                    extra={"action": "table.claim", "partition": self.partition},
                )

    async def _write(self, changes: Sequence[Change]) -> int:
        if self._failure is not None:
            raise self._failure
        records = [
            Outgoing(self._target.topic, key.encode(), value, partition=self.partition) for key, value in changes
        ]
        try:
            positions = await self._producer.append(records)
        except BelugaError as error:
            self._failure = error
            raise
        return positions[-1].offset


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Where rows are kept, and how patient to be. Times are in seconds.

    `timeout` bounds each write, `recovery_timeout` the recovery of one partition.
    """

    store: StoreFactory = MemoryStore
    timeout: float = 30.0
    recovery_timeout: float = 600.0
    claim_interval: float = _CLAIM_INTERVAL


_DEFAULTS = TableOptions()


class KafkaTables:
    """Port `Tables` on Kafka. Start it before use.

    `group` is the role's consumer group, `changelog` the topic (by default `<group>-runs-changelog`),
    `topics` what the role consumes, `owner` names this process in claims. `patience`, where it is given, bounds
    what the options' `timeout` does otherwise.
    """

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        connection: KafkaConnection,
        *,
        group: str,
        topics: Sequence[str],
        owner: str,
        changelog: str | None = None,
        options: TableOptions = _DEFAULTS,
        patience: Patience | None = None,
    ) -> None:
        self._connection = connection
        self._patience = patience or Patience(connection.where, options.timeout, insists=False)
        self._group = group
        self._topics = tuple(topics)
        self._owner = owner
        self.changelog = changelog or f"{group}-runs-changelog"
        self._options = options
        self._courier = Courier()
        self._opened: dict[int, KafkaPartitionTable] = {}
        self._admin: AIOKafkaAdminClient | None = None
        self._probing = asyncio.Lock()
        self._fencing: bool | None = None

    @property
    def opened(self) -> Mapping[int, KafkaPartitionTable]:
        """A live view of the tables that are open now, by partition."""
        return MappingProxyType(self._opened)

    @property
    def fencing(self) -> bool | None:
        """Whether the broker fences earlier owners; None until the first `open` has asked it."""
        return self._fencing

    async def start(self) -> None:
        """Connect. Raises `LogUnavailable`."""
        try:
            self._admin = await self._patience.insist("connecting", self._connected)
        except (KafkaError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"cannot connect to Kafka: {error!r}") from error

    async def _connected(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(**self._connection.client_settings("tables"))
        try:
            await admin.start()
        except BaseException:
            await admin.close()
            raise
        return admin

    async def stop(self) -> None:
        """Close every open table and disconnect."""
        await asyncio.gather(*(table.close() for table in list(self._opened.values())))
        self._opened.clear()
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def open(self, partition: int) -> KafkaPartitionTable:
        """See the port. Raises `LogUnavailable` when it takes longer than the timeouts allow."""
        old = self._opened.pop(partition, None)
        if old is not None:
            await old.close()
        began = time.monotonic()
        fence_id = f"{self._group}-{partition}"
        fencing = await self._probe(fence_id, partition)
        producer = FencedProducer(
            self._connection, fence_id, fencing=fencing, patience=self._patience, courier=self._courier
        )
        await producer.start()
        table = KafkaPartitionTable(
            TopicPartition(self.changelog, partition),
            self._owner,
            producer,
            self._options.store(partition),
            group=self._group,
            claim_interval=self._options.claim_interval,
            on_close=self._forget,
        )
        try:
            end = await table.claim() + 1
            async with within(self._options.recovery_timeout):
                count = await table.recover(self._connection, end)
        except (KafkaError, TimeoutError, OSError) as error:
            await table.close()
            what = f"cannot recover partition {partition} of {self.changelog}"
            raise refusal(self._connection, what, error, f"Read on topic {self.changelog}") from error
        except BaseException:
            await table.close()
            raise
        table.keep_claiming()
        self._opened[partition] = table
        log.info(
            "recovered partition %d of %s: %d records, %.0f ms",
            partition,
            self.changelog,
            count,
            (time.monotonic() - began) * 1000,
            extra={"action": "table.recovered", "partition": partition},
        )
        return table

    async def committed(self, partition: int) -> Mapping[str, int]:
        """See the port."""
        if self._admin is None:
            raise LogUnavailable("the tables are not started")
        wanted = [TopicPartition(topic, partition) for topic in self._topics]
        try:
            admin = self._admin
            found = await self._patience.insist(
                f"the offsets of {self._group}", lambda: self._group_offsets(admin, wanted)
            )
        except (KafkaError, TimeoutError, OSError) as error:
            what = f"cannot read the committed offsets of {self._group}"
            raise refusal(self._connection, what, error, f"Read on group {self._group}") from error
        return {target.topic: max(found[target].offset, 0) if target in found else 0 for target in wanted}

    async def _group_offsets(
        self, admin: AIOKafkaAdminClient, wanted: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, OffsetAndMetadata]:
        while True:
            try:
                found: Mapping[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
                    self._group, partitions=wanted
                )
            except KafkaError as error:
                # The first question to a new broker makes it create its topic of offsets.
                if not error.retriable:
                    raise
            else:
                return found
            await asyncio.sleep(0.1)

    async def _probe(self, fence_id: str, partition: int) -> bool:
        async with self._probing:
            if self._fencing is None:
                probe = Outgoing(self.changelog, CLAIM_KEY.encode(), b"probe", partition=partition)
                self._fencing = await broker_fences(self._connection, fence_id, probe, self._patience)
                if not self._fencing:
                    log.warning(
                        "this broker does not fence: a coordinator that wakes from a long pause may overwrite"
                        " its successor's state; use it for development only",
                        extra={"action": "table.unfenced"},
                    )
            return self._fencing

    def _forget(self, table: KafkaPartitionTable) -> None:
        if self._opened.get(table.partition) is table:
            del self._opened[table.partition]
