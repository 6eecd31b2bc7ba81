"""How long a coordinator takes to take over runs that others left: `python -m benchmarks.recovery`.

Fills a changelog with runs that wait for a signal, every one written five times and nothing compacted, starts a
coordinator on it, and reads the same bytes with a bare consumer. A signal to one of the runs must end it.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from aiokafka import TopicPartition

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.application import codec
from beluga_stream.application.catalog import publish
from beluga_stream.application.codec import Kept
from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.connection import kafka, topics
from beluga_stream.bootstrap.declared import changelog_topic, engine_topics
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import NodeSucceeded, RunRequested, SignalReceived
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.ports.log import Outgoing, TopicSpec
from benchmarks.__main__ import conditions_of, say, start_broker
from benchmarks.agents.steps import held
from benchmarks.engine import EngineProcess
from benchmarks.figures import Figure, as_table
from benchmarks.traffic import Traffic, ends_run, now_ms
from tests.brokers import Broker

_INPUT = "x" * 1_200
_STEPS = ("step0", "step1", "step2", "step3")
_BATCH = 2_000
_MIB = 1 << 20
_HOUR_MS = "3600000"
_PATIENCE_SECONDS = 60.0

StoreName = Literal["memory", "rocksdb"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--runs", nargs="+", type=int, default=[1_000, 10_000, 100_000], metavar="N")
    parser.add_argument("--store", nargs="+", choices=("memory", "rocksdb"), default=["memory", "rocksdb"])
    parser.add_argument("--broker", metavar="ADDRESS", help="a Kafka that runs")
    given = parser.parse_args()
    broker = start_broker(given.broker)
    try:
        with tempfile.TemporaryDirectory(prefix="beluga-recovery-") as folder:
            figures = [figure for runs in given.runs for figure in measured(broker, Path(folder), runs, given.store)]
    finally:
        broker.stop()
    as_table(figures, conditions_of(broker, Settings.load(broker=broker.address)))


def measured(broker: Broker, folder: Path, runs: int, stores: Sequence[StoreName]) -> list[Figure]:
    """One changelog, recovered by each store and read raw."""
    settings = Settings.load(broker=broker.address, prefix=f"recovery-{secrets.token_hex(3)}")
    say(f"{runs:,} runs: writing the changelog")
    asked = asyncio.run(fill(settings, runs))
    figures = []
    for number, store in enumerate(stores):
        say(f"{runs:,} runs: {store}")
        figures += recovered(settings, folder, runs, store, asked[number])
    say(f"{runs:,} runs: raw")
    return [*figures, asyncio.run(raw(settings, runs))]


async def fill(settings: Settings, runs: int) -> list[RunId]:
    """Topics, the definition, and a changelog as the coordinators write it. Returns some of the runs."""
    connection, names, changelog = kafka(settings), topics(settings), changelog_topic(settings)
    async with KafkaTopics(connection) as admin:
        await admin.ensure([_uncompacted(spec, changelog) for spec in engine_topics(settings, ["default"])])
    plan = Plan(held.compile().definition)
    model = run_id("held", "api", "model")
    values = list(life(plan, model))
    ids = [run_id("held", "api", str(number)) for number in range(runs)]
    async with KafkaAppender(connection, timeout=_PATIENCE_SECONDS) as appender:
        await publish(appender, names, [plan.definition])
        for value in values:
            for at in range(0, runs, _BATCH):
                await appender.append(
                    [
                        Outgoing(
                            changelog,
                            run.encode(),
                            value.replace(model.encode(), run.encode()),
                            partition=names.place(run)[1],
                        )
                        for run in ids[at : at + _BATCH]
                    ]
                )
    return ids[:10]


def _uncompacted(spec: TopicSpec, changelog: str) -> TopicSpec:
    """The changelog as it is before the broker gets to it."""
    return (
        replace(spec, config={"cleanup.policy": "compact", "min.compaction.lag.ms": _HOUR_MS})
        if (spec.name == changelog)
        else spec
    )


def life(plan: Plan, run: RunId) -> Iterator[bytes]:
    """What the coordinator writes of one run, until it waits."""
    asked = RunRequested(
        run=run, key=run, at_ms=now_ms(), graph="held", definition=plan.hash, input=Inline(_INPUT), digest="d"
    )
    decision = reduce(plan, None, asked)
    for step in (*_STEPS, None):
        assert decision is not None
        yield codec.kept.encode(Kept(decision.state))
        if step is not None:
            done = NodeSucceeded(
                run=run,
                key=run,
                at_ms=now_ms(),
                node=NodeKey(step),
                attempt=1,
                incarnation=Incarnation("0123456789ab"),
                output=Inline("a short output"),
            )
            decision = reduce(plan, decision.state, done)


def recovered(settings: Settings, folder: Path, runs: int, store: StoreName, run: RunId) -> list[Figure]:
    """Start a coordinator, wait until it owns everything, signal one run and see it end."""
    engine = EngineProcess(["coordinator"], settings.broker, settings.prefix, folder, store=store)
    try:
        engine.wait_until_ready()
        took = engine.acquired_in()
        asyncio.run(end_one(settings, run))
        resident = engine.resident_mib()
        engine.check()
    finally:
        engine.stop()
    return [
        Figure(f"{runs:,} runs, {store}", took, "s", note=f"the process holds {resident:.0f} MiB then"),
    ]


async def end_one(settings: Settings, run: RunId) -> None:
    """Raises `TimeoutError` when the run does not go on from where it was."""
    names = Topics(settings.prefix, settings.partitions)
    event = SignalReceived(run=run, key=run, at_ms=now_ms(), signal="go", id="1", value=Inline(1))
    async with Traffic.open(settings.broker, names) as traffic, traffic.reading(names.run_results) as consumer:
        await traffic.send([Outgoing(names.run_events, run.encode(), codec.incoming.encode(event))])
        over = False
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not over:
                fetched = await consumer.getmany(timeout_ms=1000)
                over = any(ends_run(record) for records in fetched.values() for record in records)


async def raw(settings: Settings, runs: int) -> Figure:
    """The same bytes by one bare consumer, which does nothing with them."""
    changelog = changelog_topic(settings)
    async with Traffic.open(settings.broker, topics(settings)) as traffic:
        ends = await traffic.ends(changelog)
        start = {TopicPartition(changelog, number): 0 for number in range(settings.partitions)}
        count = size = 0
        async with traffic.reading(changelog, start) as consumer:
            began = time.perf_counter()
            left = set(ends)
            while left:
                for records in (await consumer.getmany(*left, timeout_ms=500, max_records=50_000)).values():
                    count += len(records)
                    size += sum(len(record.value or b"") for record in records)
                left = {target for target in left if await consumer.position(target) < ends[target]}
            took = time.perf_counter() - began
    return Figure(f"{runs:,} runs, yardstick: raw read", took, "s", note=f"{count:,} records, {size / _MIB:.0f} MiB")


if __name__ == "__main__":
    main()
