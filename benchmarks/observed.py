"""What traces and metrics cost: bursts on two engines in turns, one of which exports everything it does."""

import secrets
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.settings import Settings
from benchmarks import scenarios
from benchmarks.engine import EngineProcess
from benchmarks.figures import Figure, shown
from benchmarks.traffic import Traffic

_ROLES = ("coordinator", "worker", "ingest")
_RUNS = 2_000
_MOST_PERCENT = 10.0


async def cost(settings: Settings, folder: Path, *, rounds: int, warm: int) -> list[Figure]:
    """The share of burst throughput that goes to traces of every run, and to metrics, both sent each by OTLP."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(_sink())
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
        plain = stack.enter_context(_engine(settings, folder, {}))
        observed = stack.enter_context(_engine(settings, folder, exporting, telemetry="otlp"))
        took: dict[str, list[float]] = {plain: [], observed: []}
        for number in range(warm + rounds):
            # In turns, and each first as often as the other: the machine gets warmer, or busier, for both.
            for prefix in (plain, observed) if number % 2 else (observed, plain):
                async with Traffic.open(settings.broker, Topics(prefix, settings.partitions)) as traffic:
                    figure, *_ = await scenarios.burst(traffic, [], _RUNS)
                if number >= warm:
                    took[prefix].append(figure.value)
    without, with_all = statistics.median(took[plain]), statistics.median(took[observed])
    told = "; ".join(f"{name} {', '.join(map(shown, took[of]))}" for name, of in (("off", plain), ("on", observed)))
    return [
        Figure("burst without traces and metrics", without, "steps/s"),
        Figure("burst with both, every run traced", with_all, "steps/s"),
        Figure("what both cost of a burst", 100 * (1 - with_all / without), "%", _MOST_PERCENT, "at most", told),
    ]


@contextmanager
def _engine(settings: Settings, folder: Path, variables: dict[str, str], **changed: str) -> Iterator[str]:
    """An engine; gives its prefix."""
    prefix = f"bench-{secrets.token_hex(3)}"
    processes = [
        EngineProcess([role], settings.broker, prefix, folder, variables=variables, **changed) for role in _ROLES
    ]
    try:
        for process in processes:
            process.wait_until_ready()
        yield prefix
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
