"""Limits under load: how many go on at a time for each key, whether a free slot is idle, and how even a rate is.

python -m benchmarks.limits [ADDRESS] --runs 500      # without an address: Apache Kafka from its jars
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from beluga_stream import connect
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.api.graph import Graph
from beluga_stream.application import codec
from beluga_stream.bootstrap.connection import kafka, topics
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import SlotGranted, SlotWanted
from tests.brokers import ExternalBroker, JarKafka
from tests.engine import Engine, client_environ

from . import limited

CUSTOMERS = 5
_RESULT_SECONDS = 300.0
_WINDOW_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?")
    parser.add_argument("--runs", type=int, default=500)
    given = parser.parse_args()
    broker = JarKafka() if given.address is None else ExternalBroker(given.address)
    broker.start()
    try:
        with tempfile.TemporaryDirectory() as folder, engines(broker.address, Path(folder)) as ledger:
            asyncio.run(measure(ledger, given.runs))
    finally:
        broker.stop()


@contextmanager
def engines(broker: str, folder: Path) -> Iterator[Path]:
    """A coordinator and two workers, each a process; the ledger that handlers write."""
    ledger = folder / "ledger"
    with ExitStack() as stack:
        prefix = None
        for name, role in (("c", "coordinator"), ("w1", "worker"), ("w2", "worker")):
            home = folder / name
            home.mkdir()
            engine = Engine(broker, home, agents="benchmarks.limited", role=role, instance=name)
            prefix = prefix or engine.prefix
            engine.environ |= {
                "BELUGA_PREFIX": prefix,
                "BELUGA_BLOBS": str(folder / "blobs"),
                limited.LEDGER: str(ledger),
            }
            engine.start(groups=1)
            stack.callback(engine.stop)
            os.environ.update(client_environ(engine))
        yield ledger


async def measure(ledger: Path, runs: int) -> None:
    for graph in (limited.held, limited.whole):
        lines, took = await play(graph, ledger, runs)
        say(graph.name, took_seconds=took, **concurrency(lines))
    lines, took = await play(limited.paced, ledger, runs)
    say("paced: handlers began", took_seconds=took, **rate([began for _, began, _ in lines]))
    say("paced: slots given out", **rate(await granted(limited.paced.name)))


async def play(graph: Graph[limited.Job, int], ledger: Path, runs: int) -> tuple[list[tuple[str, float, float]], float]:
    """Start all at once, wait for all, and return what the handlers wrote."""
    _emptied(ledger)
    began = time.monotonic()
    async with connect() as client:
        started = await asyncio.gather(
            *(
                client.start(graph, limited.Job(customer=f"c{number % CUSTOMERS}", number=number))
                for number in range(runs)
            )
        )
        for run in started:
            await run.result(timeout=_RESULT_SECONDS)
    took = time.monotonic() - began
    return _lines_of(ledger), round(took, 2)


def _emptied(ledger: Path) -> None:
    ledger.write_text("")


def _lines_of(ledger: Path) -> list[tuple[str, float, float]]:
    parts = [line.split() for line in ledger.read_text().splitlines()]
    return [(customer, float(start), float(end)) for customer, start, end in parts]


async def granted(graph: str) -> list[float]:
    """When each slot of the graph's limit was given out, by the coordinator's clock."""
    settings = Settings()
    topic = topics(settings).run_events
    ids: set[str] = set()
    found: dict[tuple[str, str], float] = {}
    async with KafkaReader(kafka(settings)) as reader:
        begin, end = await reader.beginning(topic), await reader.end(topic)
        async for records in reader.read(topic, begin, until=end):
            for record in records:
                event = codec.incoming.decode(record.value)
                if isinstance(event, SlotWanted) and event.limit.name.startswith(f"{graph}/"):
                    ids.add(event.key)
                elif isinstance(event, SlotGranted):
                    found.setdefault((event.limit, event.run), event.at_ms / 1000)
    return [at for (limit, _), at in found.items() if limit in ids]


def concurrency(lines: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """For each key: most executions at a time, and while somebody waits how long a slot stays without one."""
    of: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for customer, start, end in lines:
        of[customer].append((start, end))
    most = 0
    gaps: list[float] = []
    for spans in of.values():
        spans.sort()
        changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
        now = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        ends = sorted(end for _, end in spans)
        # The fourth began after the first end, the fifth after the second, and so on: until then their slot was free.
        gaps += [start - end for (start, _), end in zip(spans[3:], ends, strict=False)]
    return {
        "executions": len(lines),
        "most_at_a_time": most,
        "idle_ms_median": round(statistics.median(gaps) * 1000, 1),
        "idle_ms_99": round(sorted(gaps)[int(len(gaps) * 0.99)] * 1000, 1),
        "idle_ms_most": round(max(gaps) * 1000, 1),
    }


def rate(starts: Sequence[float]) -> dict[str, Any]:
    """Executions in a second: over all, and in the fullest and the emptiest second between the first and the last."""
    times = sorted(starts)
    whole = [at for at in times if at + _WINDOW_SECONDS <= times[-1]]
    counts = [sum(at <= other < at + _WINDOW_SECONDS for other in times) for at in whole]
    return {
        "executions": len(times),
        "per_second": round((len(times) - 1) / (times[-1] - times[0]), 2),
        "fullest_second": max(counts),
        "emptiest_second": min(counts),
    }


def say(what: str, **figures: Any) -> None:
    sys.stdout.write(json.dumps({"graph": what, **figures}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
