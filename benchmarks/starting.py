"""How long it takes until something is there: the import, and the one command that starts everything."""

import secrets
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.engine import EngineProcess
from benchmarks.figures import Figure

_IMPORT = "import time; t = time.perf_counter(); import beluga_stream; print(time.perf_counter() - t)"


def import_time(rounds: int) -> list[Figure]:
    """`import beluga_stream` in a fresh interpreter."""
    root = Path(__file__).resolve().parent.parent
    took = [
        float(subprocess.run([sys.executable, "-c", _IMPORT], cwd=root, capture_output=True, check=True).stdout)
        for _ in range(rounds)
    ]
    return [Figure("import beluga_stream", statistics.median(took) * 1000, "ms", 150)]


def time_to_ready(broker: str, folder: Path) -> list[Figure]:
    """`faust -A beluga_stream worker` with all roles, on a broker that knows nothing of them yet."""
    engine = EngineProcess(["coordinator", "worker", "ingest"], broker, f"ready-{secrets.token_hex(3)}", folder)
    try:
        took = engine.wait_until_ready()
    finally:
        engine.stop()
    return [Figure("faust -A beluga_stream worker, until ready", took, "s", 8)]
