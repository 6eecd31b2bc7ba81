"""What one event costs in the coordinator: decode, decide, encode state and outputs, without a broker.

python -m benchmarks.coordinator
"""

import asyncio
import gc
import time
from collections.abc import Sequence

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.memory.groups import MemoryGroup
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import MemoryTables
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.coordinator.coordinator import Coordinator
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import NodeSucceeded, RunRequested
from beluga_stream.domain.ids import Incarnation, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.ports.log import Outgoing, Position, Record
from benchmarks.reducer import chain

RUNS = 1_000
STEPS = 3
ROUNDS = 5
BATCH = 500
TOPICS = Topics()


class _Sent:
    """Keeps what is appended, and costs next to nothing. Its reader finds empty topics."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        self.records.extend(records)
        return [Position(record.topic, 0, 0) for record in records]

    async def beginning(self, _: str) -> dict[int, int]:
        return dict.fromkeys(range(TOPICS.partitions), 0)

    end = beginning


def requests(plan: Plan, round_: int) -> list[Record]:
    """The starts of a round."""
    records: list[Record] = []
    for number in range(RUNS):
        run = run_id("benchmark", "api", f"{round_}/{number}")
        asked = RunRequested(
            run=run, key=run, at_ms=1, graph="benchmark", definition=plan.hash, input=Inline(1), digest="d"
        )
        key, partition = TOPICS.place(run)
        records.append(Record(TOPICS.run_requests, partition, number, key, codec.incoming.encode(asked)))
    return records


def answers(ready: Sequence[Outgoing], offset: int) -> list[Record]:
    """What a worker would say to these dispatches."""
    records: list[Record] = []
    for number, record in enumerate(ready):
        work = codec.node_ready.decode(record.value)
        done = NodeSucceeded(
            run=work.run,
            key=work.key,
            at_ms=1,
            node=work.node,
            attempt=work.attempt,
            incarnation=Incarnation("0123456789ab"),
            output=Inline(2),
        )
        key, partition = TOPICS.place(work.key)
        records.append(Record(TOPICS.node_done, partition, offset + number, key, codec.incoming.encode(done)))
    return records


async def microseconds() -> float:
    """The best round's cost of one event."""
    plan = chain(STEPS)
    sent = _Sent()
    log = MemoryLog()
    log.create(TOPICS.specs(["default"]))
    catalog = Catalog(sent, TOPICS)  # type: ignore[arg-type]
    catalog.add(plan.definition)
    coordinator = Coordinator(
        topics=TOPICS,
        tables=MemoryTables(MemoryGroup("benchmark"), (), log),
        appender=sent,
        reader=sent,  # type: ignore[arg-type]
        catalog=catalog,
        payloads=Payloads(MemoryBlobs()),
        clock=SystemClock(),
    )
    await coordinator.acquire(frozenset(range(TOPICS.partitions)))
    took: list[float] = []
    for round_ in range(ROUNDS):
        batch = requests(plan, round_)
        offset, spent, events = 0, 0.0, 0
        while batch:
            gc.collect()
            began = time.perf_counter()
            for at in range(0, len(batch), BATCH):
                settled = await coordinator.handle(batch[at : at + BATCH])
                if settled is not None:
                    await settled
            spent += time.perf_counter() - began
            events += len(batch)
            offset += len(batch)
            ready = [record for record in sent.records if ".node-ready." in record.topic]
            sent.records.clear()
            batch = answers(ready, offset)
        took.append(spent / events * 1e6)
    return min(took)


if __name__ == "__main__":
    print(f"{asyncio.run(microseconds()):.1f} us an event")
