"""Measure everything in one run on one broker, and print a table: `python -m benchmarks`.

The exit code is 0 unless something broke: a slow machine is no error.
"""

import argparse
import asyncio
import json
import os
import platform
import secrets
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.declared import changelog_topic
from beluga_stream.bootstrap.settings import Settings
from benchmarks import coordinator, durable, edge, local_chain, observed, reducer, scenarios
from benchmarks.engine import BrokerProcess, EngineProcess, Process
from benchmarks.figures import Figure, as_json, as_table, median_of
from benchmarks.interpreter import Interpreter
from benchmarks.starting import import_time, time_to_ready
from benchmarks.traffic import Traffic
from benchmarks.yardstick import raw_steps, raw_throughput
from tests.brokers import Broker, BrokerUnavailable, ExternalBroker, JarKafka, KafkaContainer

ROLES = ("coordinator", "worker", "ingest")
_FUSE_MS = "50"
PARTS = (
    "start",
    "latency",
    "chunk",
    "burst",
    "closed",
    "client",
    "edge",
    "map",
    "soak",
    "memory",
    "raw",
    "raw-steps",
    "fused",
    "reducer",
    "coordinator",
    "local-chain",
    "observed",
    "durable",
)
_APART = frozenset({"start", "reducer", "coordinator", "fused", "local-chain", "observed", "durable"})
"""Parts that are not measured on the engine that the others share."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the engine on real Kafka.")
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--broker", metavar="ADDRESS", help="a Kafka that runs (default: BELUGA_BENCH_BROKER)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure only these")
    given = parser.parse_args()
    # Whoever is told to stop takes with it what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        broker = start_broker(given.broker or os.environ.get("BELUGA_BENCH_BROKER"))
    except BrokerUnavailable as reason:
        sys.exit(f"no Kafka to measure on: {reason}")
    try:
        with tempfile.TemporaryDirectory(prefix="beluga-bench-") as folder:
            figures, conditions = measure(broker, Path(folder), given.only, quick=given.quick)
    finally:
        broker.stop()
    as_table(figures, conditions)
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(figures, conditions), indent=2) + "\n")


def start_broker(address: str | None) -> Broker:
    """The broker at this address; without one Apache Kafka from its jars, else in Docker."""
    if address:
        candidates: list[Broker] = [ExternalBroker(address)]
    else:
        candidates = [JarKafka(), KafkaContainer()]
    reasons: list[str] = []
    for broker in candidates:
        try:
            broker.start()
        except BrokerUnavailable as reason:
            reasons.append(str(reason))
        else:
            return broker
    raise BrokerUnavailable("; ".join(reasons))


def measure(broker: Broker, folder: Path, only: Sequence[str], *, quick: bool) -> tuple[list[Figure], dict[str, Any]]:
    """Everything, from what disturbs least to what fills the log."""
    say(f"measuring on {broker.title} at {broker.address}")
    figures: list[Figure] = []
    interpreter = Interpreter()
    interpreter.measure()
    if "start" in only:
        figures += import_time(3 if quick else 7) + time_to_ready(broker.address, folder)
    settings = Settings.load(broker=broker.address)
    parts = [part for part in only if part not in _APART]
    if parts:
        figures += on_an_engine(settings, folder, parts, quick=quick)
        interpreter.measure()
    if "fused" in only:
        say("lines of nodes in one worker:")
        fused = on_an_engine(settings, folder, ["latency", "burst", "closed"], quick=quick, fuse_milliseconds=_FUSE_MS)
        figures += [replace(figure, name=f"fused: {figure.name}", target=None) for figure in fused]
    if "reducer" in only:
        say("reducer")
        figures += reducer_costs()
    if "coordinator" in only:
        say("coordinator")
        figures.append(Figure("coordinator without a broker", asyncio.run(coordinator.microseconds()), "us/event"))
    if "local-chain" in only:
        say("chains here")
        figures += asyncio.run(local_chain.costs())
    if "observed" in only:
        say("traces and metrics, on and off:")
        sittings, rounds, warm = (1, 1, 1) if quick else (4, 4, 1)
        figures += asyncio.run(observed.cost(settings, folder, sittings=sittings, rounds=rounds, warm=warm))
    if "durable" in only:
        say("durable subgraphs beside Temporal alone:")
        rounds, runs, warm = (1, 10, 5) if quick else (5, 60, 60)
        figures += asyncio.run(durable.cost(settings, folder, rounds=rounds, runs=runs, warm=warm))
    interpreter.measure()
    return [interpreter.figure(), *figures], conditions_of(broker, settings)


def on_an_engine(
    settings: Settings, folder: Path, parts: Sequence[str], *, quick: bool, **changed: Any
) -> list[Figure]:
    """Start the three roles with their defaults but for what is `changed`, measure, stop them."""
    named = settings.model_copy(update={"prefix": f"bench-{secrets.token_hex(3)}"})
    engine = [EngineProcess([role], named.broker, named.prefix, folder, **changed) for role in ROLES]
    try:
        for process in engine:
            process.wait_until_ready()
        figures = asyncio.run(drive(named, engine, parts, quick=quick))
        for process in engine:
            process.check()
    finally:
        for process in engine:
            process.stop()
    return figures


async def drive(settings: Settings, engine: list[EngineProcess], parts: Sequence[str], *, quick: bool) -> list[Figure]:
    """Send load and read what comes of it."""
    address = settings.broker
    rounds = 1 if quick else 2
    broker = BrokerProcess.listening_at(address)
    processes: list[Process] = [*engine] if broker is None else [*engine, broker]
    async with Traffic.open(address, Topics(settings.prefix, settings.partitions)) as traffic:
        measured: dict[str, tuple[int, Callable[[], Awaitable[list[Figure]]]]] = {
            "latency": (rounds, lambda: scenarios.latency(traffic, 30 if quick else 150)),
            "chunk": (1, lambda: scenarios.first_chunk(traffic, 10 if quick else 60)),
            "burst": (rounds + 1, lambda: scenarios.burst(traffic, processes, 2_000)),
            "closed": (rounds, lambda: scenarios.closed(traffic, processes, 32, 3 if quick else 8)),
            "client": (1, lambda: scenarios.by_the_client(settings, 20 if quick else 100)),
            "edge": (1, lambda: edge_costs(traffic, processes, quick=quick)),
            "map": (
                1,
                lambda: scenarios.large_map(traffic, changelog_topic(settings), 1_000 if quick else 10_000),
            ),
            "soak": (
                1,
                lambda: scenarios.soak(traffic, processes, engine, 4_000 if quick else 50_000),
            ),
            "memory": (1, lambda: scenarios.memory(engine)),
            "raw": (rounds, lambda: raw_throughput(address, 20_000 if quick else 60_000)),
            "raw-steps": (rounds, lambda: raw_steps(address, 30 if quick else 150)),
        }
        # A broker that has just started compiles its code first, and takes a core for that: half a minute's load.
        for _ in range(1 if quick else 12):
            await scenarios.burst(traffic, processes, 2_000)
        await scenarios.closed(traffic, processes, 32, 1 if quick else 24)
        # And what a lone run asks of it, which is not what many do.
        await scenarios.latency(traffic, 10 if quick else 150)
        figures: list[Figure] = []
        for name, (times, measure_once) in measured.items():
            if name in parts:
                say(name)
                figures += median_of([await measure_once() for _ in range(times)])
    return figures


async def edge_costs(traffic: Traffic, processes: list[Process], *, quick: bool) -> list[Figure]:
    """The pipeline comes first: its first run of all tells what is open before it is needed."""
    rounds, chunks = (1, 10_000) if quick else (3, 100_000)
    pipeline = await edge.pipeline(traffic, 5 if quick else 30)
    latency = await edge.latency(traffic, 200 if quick else 2_000)
    await edge.throughput(traffic, processes, chunks)  # the broker compiles what it has not done before
    throughput = [await edge.throughput(traffic, processes, chunks) for _ in range(rounds)]
    return [*pipeline, *latency, *median_of(throughput)]


def reducer_costs() -> list[Figure]:
    """Microseconds an event, as `benchmarks/reducer.py` has them."""
    return [
        Figure(f"reducer, {shape.__name__} of {size:,} nodes", reducer.microseconds(shape(size)), "us/event", most)
        for shape in (reducer.chain, reducer.fan, reducer.layers)
        for size, most in ((10, 20), (1_000, 40))
    ]


def conditions_of(broker: Broker, settings: Settings) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "broker": f"{broker.title}, one node",
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, {platform.platform()}",
        "python": f"{platform.python_version()}, {Path(sys.executable).resolve()}",
        "processes": "one coordinator, one worker, one ingest, with the settings they are shipped with",
        "durability": "acks=all, idempotent producers, changelog by a fenced producer",
        "order": "changelog durable, then outputs durable, then acknowledged",
        "partitions": settings.partitions,
        "store": settings.store,
        "linger": "0 ms",
        "fusion": f"{settings.fuse_milliseconds} ms (0: each node goes through the log); fused: {_FUSE_MS} ms",
    }


def say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
