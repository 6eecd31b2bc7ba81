"""A partitioned log in this process: the ports `Appender` and `Reader` without a broker.

It behaves as Kafka does where the engine can tell: offsets per partition, order within a partition,
Kafka's partitioner, live reads that wake on an append. What is appended is durable at once; delays,
crashes and lost confirmations are the simulation's to add.
"""

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import takewhile

from ...application.partitioner import partition_of
from ...errors import RecordTooLarge, TopicMissing
from ...ports.clock import Clock
from ...ports.log import Outgoing, Position, Record, TopicSpec
from .clock import SystemClock
from .tail import Tail

MAX_RECORD_BYTES = 1_000_000
_READ_AT_ONCE = 1_000


class _Mark(Record):
    """Takes an offset, and is no record."""

    __slots__ = ()


class MemoryLog:
    """Topics of records, shared by every role and client of this process. Topics are created before use.

    It keeps all of them, or with `most_bytes` the last that have so many together.
    """

    def __init__(self, *, clock: Clock | None = None, most_bytes: int | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._most_bytes = most_bytes
        self._kept_bytes = 0
        self._in_order: deque[tuple[tuple[str, int], int]] = deque()
        """Where each record went that may be dropped, and its bytes."""
        self._topics: dict[str, list[list[Record] | Tail]] = {}
        self._lists: dict[tuple[str, int], list[Record] | Tail] = {}
        """The same, by topic and partition: what is looked at most is found at once."""
        self._begins: dict[tuple[str, int], int] = defaultdict(int)
        self._marked: set[tuple[str, int]] = set()
        """The partitions that have offsets without a record."""
        self._waiting: dict[tuple[str, int], dict[asyncio.Future[None], None]] = defaultdict(dict)
        self._keyless = 0

    def create(self, specs: Iterable[TopicSpec]) -> None:
        """Create the topics that are not there."""
        for spec in specs:
            if spec.name not in self._topics:
                made = list[Record] if self._most_bytes is None else Tail
                self._topics[spec.name] = [made() for _ in range(spec.partitions)]
                self._lists.update(((spec.name, number), each) for number, each in enumerate(self._topics[spec.name]))

    def drop_before(self, topic: str, partition: int, offset: int) -> None:
        """Let retention remove what lies before this offset."""
        self._begins[topic, partition] = max(offset, self._begins[topic, partition])

    def records(self, topic: str, partition: int, start: int = 0, most: int = _READ_AT_ONCE) -> Sequence[Record]:
        """What is there now, from `start` on, of so many offsets at most."""
        begin = max(start, self._begins[topic, partition])
        found = self._partitions(topic)[partition][begin : begin + most]
        return [one for one in found if type(one) is Record] if (topic, partition) in self._marked else found

    def available(self, positions: Mapping[tuple[str, int], int], most: int) -> dict[tuple[str, int], Sequence[Record]]:
        """What can be read now at these positions, of each at most so many; without those where there is nothing."""
        found: dict[tuple[str, int], Sequence[Record]] = {}
        for target, at in positions.items():
            records = self._lists[target]
            if at < len(records) and (begin := max(at, self._begins[target])) < len(records):
                some = records[begin : begin + most]
                if target in self._marked:
                    some = list(takewhile(lambda one: type(one) is Record, some))
                if some:
                    found[target] = some
        return found

    def without_records(self, positions: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Up to where nothing can be read at these positions though the log goes on; without those where it can."""
        found: dict[tuple[str, int], int] = {}
        for target, at in positions.items():
            records = self._lists[target]
            end = max(at, min(self._begins[target], len(records)))
            if target in self._marked:
                while end < len(records) and type(records[end]) is not Record:
                    end += 1
            if end > at:
                found[target] = end
        return found

    def records_in(self, topic: str) -> int:
        """How many records were ever appended to a topic."""
        return sum(len(records) for records in self._partitions(topic))

    def target(self, record: Outgoing) -> tuple[str, int]:
        """The topic and partition that a record goes to. Raises `TopicMissing`."""
        count = len(self._partitions(record.topic))
        if record.partition is not None:
            return record.topic, record.partition
        if record.key is None:
            self._keyless += 1
            return record.topic, self._keyless % count
        return record.topic, partition_of(record.key, count)

    def check(self, records: Sequence[Outgoing]) -> None:
        """Raise `RecordTooLarge` or `TopicMissing` for what cannot be appended."""
        for record in records:
            self._partitions(record.topic)
            size = len(record.key or b"") + len(record.value or b"")
            if size > MAX_RECORD_BYTES:
                raise RecordTooLarge(
                    f"a record of {size} bytes for topic {record.topic} is above the limit of {MAX_RECORD_BYTES} bytes",
                    topic=record.topic,
                )

    def mark(self, topic: str, partition: int) -> None:
        """Let an offset have no record: the end of a producer's transaction takes one."""
        target = topic, partition
        into = self._lists[target]
        into.append(_Mark(topic, partition, len(into), None, None, self._clock.now_ms()))
        self._marked.add(target)
        self._wake(target)

    def put(self, record: Outgoing, target: tuple[str, int]) -> Position:
        """Append one record now, and wake the readers of its partition."""
        topic, partition = target
        into = self._lists[target]
        into.append(Record(topic, partition, len(into), record.key, record.value, self._clock.now_ms(), record.headers))
        self._wake(target)
        position = Position(topic, partition, len(into) - 1)
        if self._most_bytes is not None:
            self._bound(target, len(record.key or b"") + len(record.value or b""), self._most_bytes)
        return position

    def _bound(self, target: tuple[str, int], size: int, most: int) -> None:
        """Drop the oldest quarter when there is too much: one record at a time would move the others each time."""
        self._in_order.append((target, size))
        self._kept_bytes += size
        if self._kept_bytes <= most:
            return
        dropped: Counter[tuple[str, int]] = Counter()
        while self._kept_bytes > most * 3 // 4 and len(self._in_order) > 1:
            oldest, size = self._in_order.popleft()
            self._kept_bytes -= size
            dropped[oldest] += 1
        for (topic, partition), count in dropped.items():
            records = self._lists[topic, partition]
            assert isinstance(records, Tail), "what is bounded is made of them"
            self.drop_before(topic, partition, records.drop(count))

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """See the port `Appender`."""
        self.check(records)
        return [self.put(record, self.target(record)) for record in records]

    async def partitions(self, topic: str) -> int:
        """See the port `Reader`."""
        return len(self._partitions(topic))

    async def end(self, topic: str) -> Mapping[int, int]:
        """See the port `Reader`."""
        return {number: len(records) for number, records in enumerate(self._partitions(topic))}

    async def beginning(self, topic: str) -> Mapping[int, int]:
        """See the port `Reader`."""
        return {number: self._begins[topic, number] for number in range(len(self._partitions(topic)))}

    async def at_time(self, topic: str, timestamp_ms: int) -> Mapping[int, int]:
        """See the port `Reader`."""
        found: dict[int, int] = {}
        for number, records in enumerate(self._partitions(topic)):
            begin = self._begins[topic, number]
            found[number] = bisect_left(records, timestamp_ms, lo=begin, key=lambda record: record.timestamp_ms)
        return found

    async def read(
        self, topic: str, start: Mapping[int, int], *, until: Mapping[int, int] | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """See the port `Reader`. Records of several partitions come mixed, each partition's in order."""
        positions = {number: max(at, self._begins[topic, number]) for number, at in start.items()}
        while True:
            batch: list[Record] = []
            moved = False
            for number, position in positions.items():
                at = max(position, self._begins[topic, number])  # some may have been dropped meanwhile
                most = _READ_AT_ONCE if until is None else min(_READ_AT_ONCE, until.get(number, 0) - at)
                if most > 0:
                    found = self.records(topic, number, at, most)
                    end = min(at + most, len(self._lists[topic, number]))
                    if end > at:
                        positions[number] = end
                        moved = True
                    batch.extend(found)
            if batch:
                yield batch
            elif until is None:
                await self.wait({(topic, number): at for number, at in positions.items()})
            elif not moved:
                return

    async def wait(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Return when one of these partitions has a record at or after its position."""
        if self.is_past(positions):
            return
        appended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watch(positions, appended)
        try:
            await appended
        finally:
            self.forget(positions, appended)

    def is_past(self, positions: Mapping[tuple[str, int], int]) -> bool:
        """Whether one of these partitions has had a record at or after its position, there still or removed since."""
        return any(len(self._lists[target]) > at for target, at in positions.items())

    def watch(self, targets: Iterable[tuple[str, int]], appended: "asyncio.Future[None]") -> None:
        """Let this future end when something is appended to one of these; `forget` it afterwards."""
        for target in targets:
            self._waiting[target][appended] = None

    def forget(self, targets: Iterable[tuple[str, int]], appended: "asyncio.Future[None]") -> None:
        """See `watch`."""
        for target in targets:
            self._waiting[target].pop(appended, None)

    def _wake(self, target: tuple[str, int]) -> None:
        for waiting in self._waiting.pop(target, ()):
            if not waiting.done():
                waiting.set_result(None)

    def _partitions(self, topic: str) -> list[list[Record] | Tail]:
        found = self._topics.get(topic)
        if found is None:
            raise TopicMissing(f"topic {topic} does not exist: create it first", topic=topic)
        return found
