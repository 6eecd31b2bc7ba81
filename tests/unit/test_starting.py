"""What a process loads before it works: a restart costs little else."""

import subprocess
import sys

import pytest

HEAVY = {
    "starlette", "typer", "beluga_stream.application.coordinator", "beluga_stream.application.gatherer",
    "beluga_stream.application.ingest", "beluga_stream.application.worker", "beluga_stream.adapters.kafka.table",
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "needs"),
    [
        ("worker", {"beluga_stream.application.worker"}),
        ("coordinator", {"beluga_stream.application.coordinator"}),
        ("ingest", {"beluga_stream.application.ingest"}),
    ],
)
def test_a_process_loads_its_own_roles_only(role: str, needs: set[str]) -> None:
    code = (
        f"import sys, beluga_stream.bootstrap.engine, beluga_stream.bootstrap.roles.{role}\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) == needs
