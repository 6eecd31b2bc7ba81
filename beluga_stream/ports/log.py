"""The partitioned log: records in, records out, and who drives whom.

The application never polls. A *driver* (Faust on Kafka, or the simulation) owns the
consumer group, hands records to a `Role` in batches, and acknowledges them when the role
says that everything they caused is durable.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class Record(NamedTuple):
    """One record read from the log. `timestamp_ms` is what the producer or broker stamped.

    A tuple, as is `Outgoing`: every event makes several of each.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0
    headers: Headers = ()

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


class Outgoing(NamedTuple):
    """One record to append. Without `partition` the key picks it (Kafka's murmur2 partitioner)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Role(Protocol):
    """A coordinator, worker or ingest, as its driver sees it.

    Order of calls: `acquire(partitions)` (before any of their records), `handle` as often
    as there is something, `release(partitions)` on revoke, `close` once at the end.
    `handle` and `passed` are never called while one of these runs; `tend` runs beside them
    from before the first `acquire` until `close`.
    """

    topics: tuple[str, ...]

    @property
    def held_back(self) -> frozenset[str]:
        """The topics of which no more is wanted for now: their lag grows, the others flow on."""

    @property
    def yielding(self) -> frozenset[str]:
        """The topics of which no more is taken while much of the others waits."""

    async def acquire(self, partitions: frozenset[int]) -> None:
        """Take over these partition numbers of all run-keyed topics; recover their state."""

    async def release(self, partitions: frozenset[int]) -> None:
        """Give them up: finish or hand back what is under way, within a bound."""

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        """Take these records, in offset order within a partition.

        Returns None when all they caused is durable, or an awaitable that says so later;
        meanwhile further batches may come. The driver acknowledges in order. Raising, here
        or from the awaitable, ends the process: nothing is acknowledged.
        """

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """Everything before this offset was handled, though no record lies just before it.

        Called for offsets that have none, as the marks of producers' transactions, and for those deleted unread.
        """

    async def tend(self) -> None:
        """The role's own background work (deadlines, heartbeats), from its start until it is cancelled.

        Raising ends the process.
        """

    async def close(self) -> None:
        """Release every resource."""


class Appender(Protocol):
    """Appends records to the log."""

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """Append all, and return their positions once every one is durable (acks=all).

        Records of one (topic, partition) keep their order. Raises `LogUnavailable` when the
        broker did not confirm in time and `RecordTooLarge` before anything was sent.
        """


class Reader(Protocol):
    """Reads single partitions outside any group: result streams, definitions, control."""

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises `TopicMissing`."""

    async def end(self, topic: str) -> Mapping[int, int]:
        """For each partition, the offset after its last record."""

    async def beginning(self, topic: str) -> Mapping[int, int]:
        """For each partition, the offset of its first retained record."""

    def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Batches from `start` (partition -> offset), up to `until`, or for ever without it.

        Raises `LogUnavailable` when what is there up to `until` does not come.
        """

    async def at_time(self, topic: str, timestamp_ms: int) -> Mapping[int, int]:
        """For each partition, the first offset at or after this time (end, when there is none)."""


class Workers(Protocol):
    """What the consumer group of a role (the workers', or ingest's) has done with its topics."""

    async def acknowledged(self, topic: str) -> Mapping[int, int]:
        """For each partition, how far the group has acknowledged it (0, or left out: not at all).

        Raises `LogUnavailable`.
        """


class PartitionTable(Protocol):
    """The compacted table of one owned partition: a changelog with a store in front of it."""

    def get(self, key: str) -> bytes | None:
        """The value that is durable now."""

    def items(self) -> Iterable[tuple[str, bytes]]:
        """Every key and value, for rebuilding timers and intents after `open`; not beside a `commit`."""

    async def commit(self, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Append all changes, in order, to the changelog; wait until durable; then show them.

        A commit that is called while another is under way comes after it, and not at all when that one fails.
        None deletes. Raises `Fenced` when another owner has claimed the partition.
        """

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """Append to other topics, as `Appender` does, but as the owner of the partition.

        Raises `Fenced` when a later owner has appended there before: what one that wakes late still had to say does
        not come after what is newer. For topics of which only the last record of a key counts.
        """

    async def close(self) -> None:
        """Drop the local copy and release the producer."""


class Tables(Protocol):
    """Opens the table of a partition for its new owner."""

    async def open(self, partition: int) -> PartitionTable:
        """Fence earlier owners, claim, and recover everything that was durable."""

    async def committed(self, partition: int) -> Mapping[str, int]:
        """For each topic of this role, the group's committed offset in this partition (0: none)."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic must look. Times in milliseconds, sizes in bytes."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int = 1
