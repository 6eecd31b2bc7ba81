"""What traces and metrics cost: bursts on engines in turns, of which one exports nothing."""

import secrets
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.settings import Settings
from benchmarks import scenarios
from benchmarks.engine import EngineProcess
from benchmarks.figures import Figure, shown
from benchmarks.traffic import Traffic

_ROLES = ("coordinator", "worker", "ingest")
_RUNS = 2_000
_STEPS = 3
_MICROSECONDS = 1_000_000
_MOST_PERCENT = 10.0
_NAMES = ("off", "one in ten", "every")
_SOME = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


async def cost(settings: Settings, folder: Path, *, sittings: int, rounds: int, warm: int) -> list[Figure]:
    """The share of burst throughput that goes to metrics and traces, both sent by OTLP as they come.

    Each sitting has engines of its own: two alike differ by some percent for as long as they run, by where their memory
    happens to lie. Before what is measured comes as much that is not: the engine whose turn it was before sends what is
    left of its spans meanwhile, and has had the processor's caches to itself.
    """
    took: dict[str, list[float]] = {name: [] for name in _NAMES}
    used: dict[str, list[float]] = {name: [] for name in _NAMES}
    for _ in range(sittings):
        with ExitStack() as stack:
            sink = stack.enter_context(_sink())
            exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink, "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
            engines = {
                "off": stack.enter_context(_engine(settings, folder, {})),
                "one in ten": stack.enter_context(_engine(settings, folder, exporting | _SOME, telemetry="otlp")),
                "every": stack.enter_context(_engine(settings, folder, exporting, telemetry="otlp")),
            }
            order = list(_NAMES)
            for number in range(warm + rounds):
                # In turns, and each first as often as the others: the machine gets warmer, or busier, for all.
                order = [*order[1:], order[0]]
                for name in order:
                    prefix, processes = engines[name]
                    async with Traffic.open(settings.broker, Topics(prefix, settings.partitions)) as traffic:
                        await scenarios.burst(traffic, processes, _RUNS)
                        figure, *seconds = await scenarios.burst(traffic, processes, _RUNS)
                    if number >= warm:
                        took[name].append(figure.value)
                        used[name].append(sum(each.value for each in seconds) * _MICROSECONDS / (_RUNS * _STEPS))
    without, sampled, traced = (statistics.median(took[name]) for name in _NAMES)
    alone, less, more = (statistics.median(used[name]) for name in _NAMES)
    told, cpu = ("; ".join(f"{name} {', '.join(map(shown, by[name]))}" for name in _NAMES) for by in (took, used))
    return [
        Figure("burst without traces and metrics", without, "steps/s"),
        Figure("burst with metrics, one run in ten traced", sampled, "steps/s"),
        Figure("burst with metrics, every run traced", traced, "steps/s"),
        Figure("metrics and one trace in ten cost", 100 * (1 - sampled / without), "%", _MOST_PERCENT, "at most", told),
        Figure("metrics and every trace cost", 100 * (1 - traced / without), "%", _MOST_PERCENT),
        Figure("CPU of all roles without traces and metrics", alone, "us/step", note=cpu),
        Figure(
            "CPU with metrics, one run in ten traced", less, "us/step", note=f"{100 * (less / alone - 1):.1f} % more"
        ),
        Figure("CPU with metrics, every run traced", more, "us/step", note=f"{100 * (more / alone - 1):.1f} % more"),
    ]


class _Engine(NamedTuple):
    prefix: str
    processes: Sequence[EngineProcess]


@contextmanager
def _engine(settings: Settings, folder: Path, variables: dict[str, str], **changed: str) -> Iterator[_Engine]:
    """An engine, for as long as the block lasts."""
    prefix = f"bench-{secrets.token_hex(3)}"
    processes = [
        EngineProcess([role], settings.broker, prefix, folder, variables=variables, **changed) for role in _ROLES
    ]
    try:
        for process in processes:
            process.wait_until_ready()
        yield _Engine(prefix, processes)
        for process in processes:
            process.check()
    finally:
        for process in processes:
            process.stop()


@contextmanager
def _sink() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()
