"""The programs of `tests/types` not only type check: those that need no broker run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TYPES = Path(__file__).parent.parent / "types"


def _run(*arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TYPES.parent.parent), str(TYPES)])}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=TYPES, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_the_orchestrator_runs() -> None:
    assert _run("-c", "import asyncio, programs; asyncio.run(programs.part69())").split() == ["2", "2", "0"]


@pytest.mark.timeout(300)
def test_the_simulation_runs() -> None:
    seeds = [f"programs.py::test_charges_once[{seed}]" for seed in range(10)]
    assert "10 passed" in _run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "beluga_stream.testing", *seeds)
