"""What a process loads before it works: a restart costs little else."""

import subprocess
import sys

import pytest

HEAVY = {
    "starlette",
    "typer",
    "beluga_stream.application.coordinator.coordinator",
    "beluga_stream.application.ingest.gatherer",
    "beluga_stream.application.ingest.ingest",
    "beluga_stream.application.worker.worker",
    "beluga_stream.adapters.kafka.table",
}


@pytest.mark.parametrize(
    ("role", "needs"),
    [
        ("worker", {"beluga_stream.application.worker.worker"}),
        ("coordinator", {"beluga_stream.application.coordinator.coordinator"}),
        ("ingest", {"beluga_stream.application.ingest.ingest"}),
    ],
)
def test_a_process_loads_its_own_roles_only(role: str, needs: set[str]) -> None:
    code = (
        f"import sys, beluga_stream.bootstrap.engine, beluga_stream.bootstrap.roles.{role}\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) == needs
