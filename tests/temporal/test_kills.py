"""Workers that die: what they held goes on elsewhere."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from beluga_stream import Orchestrator
from beluga_stream.bootstrap.settings import Settings
from tests.temporal import works


@contextmanager
def serving(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    """A worker process that is ready, and gone afterwards."""
    environ = {
        **os.environ,
        "BELUGA_TEMPORAL_ADDRESS": settings.temporal_address,
        "BELUGA_TEMPORAL_TASK_QUEUE": settings.temporal_task_queue,
        "BELUGA_BLOBS": settings.blobs,
    }
    command = [sys.executable, "-m", "tests.temporal.serving"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert line(process) == "ready"
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """What it says next; the test's own timeout bounds the wait."""
    output: IO[str] | None = process.stdout
    assert output is not None
    return output.readline().strip()


@pytest.mark.slow
async def test_a_worker_that_is_killed_in_the_midst_of_a_node_costs_one_attempt(
    temporal_address: str, tmp_path: Path
) -> None:
    settings = Settings.load(
        temporal_address=temporal_address, temporal_task_queue=secrets.token_hex(8), blobs=str(tmp_path)
    )
    async with Orchestrator(settings) as orch:
        survivor = orch.create_workflow(works.survivor)
        with serving(settings) as first:
            run = await survivor.execute(3)
            assert line(first) == "entered"
        with serving(settings):
            assert await survivor.get_result(run, timeout=60) == 42


@pytest.mark.slow
async def test_a_wait_survives_every_worker(temporal_address: str, tmp_path: Path) -> None:
    settings = Settings.load(
        temporal_address=temporal_address, temporal_task_queue=secrets.token_hex(8), blobs=str(tmp_path)
    )
    async with Orchestrator(settings) as orch:
        asking = orch.create_workflow(works.asking)
        with serving(settings):
            run = await asking.execute(3)
            while not (await asking.query(run))["waits"]:
                pass
        await asking.signal(run, works.approval, value=True)
        with serving(settings):
            assert await asking.get_result(run, timeout=60) == "3 True"
