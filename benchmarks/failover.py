"""What the end of a worker costs: `python -m benchmarks.failover [ADDRESS]`.

Three workers, each with a name of its own, under a steady load of nodes that take half a second. One is killed (-9)
and started again much later; then one is killed and started again at once, and one is told to stop and started again.
Shown: how soon what it had in its hands is begun again, what the others do meanwhile, and how long new runs wait.
"""

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from beluga_stream import connect
from beluga_stream.bootstrap.settings import Settings
from benchmarks import failing
from benchmarks.__main__ import conditions_of, say, start_broker
from benchmarks.figures import Figure, as_table
from tests.engine import Engine, client_environ

RATE = 40
LEASE_SECONDS = 10
_MOST_RESUMED = LEASE_SECONDS + 3.0
_MOST_RESTART = 3.0
_STEADY_SECONDS = 8
_AFTER_SECONDS = 18
_RESULT_SECONDS = 120.0


class Began(NamedTuple):
    """An execution that began, at so many epoch seconds."""

    number: int
    worker: str
    at: float


@dataclass
class Ledger:
    """What the handlers wrote, and when each run was asked for."""

    file: Path
    asked: dict[int, float] = field(default_factory=dict)
    runs: list[asyncio.Task[int]] = field(default_factory=list)

    def began(self) -> list[Began]:
        """Every execution, in the order in which they began."""
        lines = [line.split() for line in self.file.read_text().splitlines()]
        found = [Began(int(number), worker, float(at)) for what, number, worker, at in lines if what == "began"]
        return sorted(found, key=lambda each: each.at)

    def ended(self) -> set[tuple[int, str]]:
        """Who has ended what."""
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return {(int(number), worker) for what, number, worker, _ in lines if what == "ended"}

    def waits(self, since: float, until: float) -> list[float]:
        """How long each run that was asked for in this time waited until it first began, in seconds."""
        first: dict[int, float] = {}
        for each in self.began():
            first.setdefault(each.number, each.at)
        return [first[number] - at for number, at in self.asked.items() if since <= at < until]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("address", nargs="?", help="a Kafka that runs")
    broker = start_broker(parser.parse_args().address)
    try:
        with tempfile.TemporaryDirectory(prefix="beluga-failover-") as folder, ExitStack() as stack:
            ledger = Ledger(Path(folder) / "ledger")
            workers = started(broker.address, Path(folder), ledger, stack)
            figures = asyncio.run(measured(workers, ledger))
    finally:
        broker.stop()
    as_table(figures, conditions_of(broker, Settings()))


def started(broker: str, folder: Path, ledger: Ledger, stack: ExitStack) -> dict[str, Engine]:
    """A coordinator and three workers, each a process; the workers by name."""
    ledger.file.touch()
    engines: dict[str, Engine] = {}
    for name, role in (("c", "coordinator"), *((f"w{number}", "worker") for number in (1, 2, 3))):
        home = folder / name
        home.mkdir()
        engine = engines[name] = Engine(broker, home, agents="benchmarks.failing", role=role, instance=name)
        engine.environ |= {
            "BELUGA_PREFIX": engines["c"].prefix,
            "BELUGA_BLOBS": str(folder / "blobs"),
            failing.LEDGER: str(ledger.file),
        }
        engine.start(groups=1)
        stack.callback(engine.stop)
    os.environ.update(client_environ(engines["c"]) | {"BELUGA_PREFIX": engines["c"].prefix})
    return {name: engine for name, engine in engines.items() if name != "c"}


async def measured(workers: dict[str, Engine], ledger: Ledger) -> list[Figure]:
    """Load, and the three ends of a worker in the midst of it; then wait for every run."""
    load = asyncio.create_task(loaded(ledger))
    figures: list[Figure] = []
    await asyncio.sleep(_STEADY_SECONDS)
    say("w2 is killed, and stays away")
    killed = await ended(workers["w2"], signal.SIGKILL)
    await asyncio.sleep(_AFTER_SECONDS)
    figures += of_death(ledger, "w2", killed)
    await again(workers["w2"])
    await asyncio.sleep(_STEADY_SECONDS)
    for name, how, told in (
        ("w3", signal.SIGKILL, "killed, and started again at once"),
        ("w1", signal.SIGTERM, "told to stop, and started again"),
    ):
        say(f"{name} is {told}")
        at = await ended(workers[name], how)
        await again(workers[name])
        back = time.time()
        await asyncio.sleep(_AFTER_SECONDS)
        waits = ledger.waits(at, at + _AFTER_SECONDS - 5)
        target = _MOST_RESTART if how == signal.SIGTERM else None
        figures.append(Figure(f"{told}: back after", back - at, "s"))
        figures.append(Figure(f"{told}: a new run waits for at most", max(waits), "s", target, note=median_of(waits)))
    load.cancel()
    await asyncio.wait([load])
    results = await asyncio.gather(*ledger.runs)
    began = len(ledger.began())
    figures.append(Figure("runs that ended, all as they should", len(results), "runs", note=f"{began} executions"))
    return figures


async def loaded(ledger: Ledger) -> None:
    """Start a run every so often, until cancelled."""
    async with connect() as client:
        number = 0
        try:
            while True:
                ledger.asked[number] = time.time()
                run = await client.start(failing.naps, number)
                ledger.runs.append(asyncio.create_task(run.result(timeout=_RESULT_SECONDS)))
                number += 1
                await asyncio.sleep(1 / RATE)
        finally:
            await asyncio.wait(ledger.runs, timeout=_RESULT_SECONDS)


async def ended(worker: Engine, how: signal.Signals) -> float:
    """End the process; when that was told."""
    at = time.time()
    os.kill(worker.pid, how)
    await asyncio.to_thread(worker.stop)
    return at


async def again(worker: Engine) -> None:
    """Start it once more, and wait until it has partitions."""
    await asyncio.to_thread(worker.start, groups=len(worker.said("role.acquired")) + 1)


def of_death(ledger: Ledger, name: str, at: float) -> list[Figure]:
    """What the death of a worker has cost, some time after it."""
    began, done = ledger.began(), ledger.ended()
    held = [each for each in began if each.worker == name and each.at <= at and (each.number, name) not in done]
    resumed = [next(later.at for later in began if later.number == each.number and later.at > at) - at for each in held]
    others = [each.at for each in began if each.worker != name and at - 5 <= each.at < at + 5]
    before = sum(1 for each in others if each < at)
    gap = max(later - earlier for earlier, later in pairwise(others))
    waits = ledger.waits(at, at + _AFTER_SECONDS - 5)
    return [
        Figure("killed: executions in its hands", len(held), ""),
        Figure("killed: begun again within", max(resumed), "s", _MOST_RESUMED, note=median_of(resumed)),
        Figure("killed: a new run waits for at most", max(waits), "s", _MOST_RESUMED, note=median_of(waits)),
        Figure("killed: begun by the others in 5 s before", before, "", note=f"{len(others) - before} in 5 s after"),
        Figure("killed: longest pause of the others", gap, "s", note="in these 10 s"),
    ]


def median_of(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):.2f}"


if __name__ == "__main__":
    main()
