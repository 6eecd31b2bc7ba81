"""What the Makefile stops is all that it may have started."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("target", ["compose-down", "compose-clean"])
def test_what_a_profile_has_started_is_stopped_too(target: str) -> None:
    """Compose itself stops only what the profiles that are set name, and then cannot remove the network."""
    # Whoever runs the tests by make has another make above this one, which would say where it is.
    command = ["make", "--no-print-directory", "--dry-run", target, "COMPOSE=compose"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("compose --profile '*' down ")
