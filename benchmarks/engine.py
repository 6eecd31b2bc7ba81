"""The engine under measurement: each role a `faust -A beluga_stream worker` process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import psutil

_HERE = Path(__file__).resolve().parent
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0


class NotReady(Exception):
    """A process ended or hung before it had its partitions; the message has its last lines."""


class Process(Protocol):
    """A process whose use of the machine is measured."""

    name: str

    def cpu_seconds(self) -> float:
        """User and system time so far."""

    def resident_mib(self) -> float:
        """Memory that it holds now."""


class BrokerProcess:
    """The broker, when it runs on this machine."""

    name = "broker"

    def __init__(self, pid: int) -> None:
        self._usage = psutil.Process(pid)

    @classmethod
    def listening_at(cls, address: str) -> "BrokerProcess | None":
        """Whoever listens on the address's port here."""
        port = int(address.rpartition(":")[2])
        for connection in psutil.net_connections("tcp"):
            here = connection.laddr
            if connection.status == psutil.CONN_LISTEN and here and here.port == port and connection.pid:
                return cls(connection.pid)
        return None

    def cpu_seconds(self) -> float:
        return _cpu_seconds(self._usage)

    def resident_mib(self) -> float:
        return _resident_mib(self._usage)


class EngineProcess:
    """One process with some of the roles, on a deployment of the benchmark's graphs."""

    def __init__(
        self,
        roles: Sequence[str],
        broker: str,
        prefix: str,
        folder: Path,
        *,
        variables: Mapping[str, str] = MappingProxyType({}),
        **settings: str,
    ) -> None:
        self.name = "+".join(roles)
        self._roles = roles
        self._log = folder / f"{prefix}-{self.name}.log"
        environment = os.environ | {
            "BELUGA_AGENTS": str(_HERE / "agents"),
            "BELUGA_BLOBS": str(folder / "blobs"),
            "BELUGA_BROKER": broker,
            "BELUGA_DATA": str(folder / "data"),
            "BELUGA_LOG_FORMAT": "json",
            "BELUGA_PREFIX": prefix,
            "BELUGA_ROLE": ",".join(roles),
            "BELUGA_TOPICS": str(_HERE / "topics"),
            "PYTHONPATH": str(_HERE.parent),
            **{f"BELUGA_{name.upper()}": value for name, value in settings.items()},
            **variables,
        }
        command = [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker", "-l", "warn"]
        self._began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        self._usage = psutil.Process(self._process.pid)

    def wait_until_ready(self) -> float:
        """Seconds from the start until every role had its partitions."""
        while time.perf_counter() - self._began < _READY_SECONDS:
            if len(self._acquired()) >= len(self._roles):
                return time.perf_counter() - self._began
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        tail = self._log.read_text(errors="replace")[-3000:]
        raise NotReady(f"{self.name} did not become ready:\n{tail}")

    def acquired_in(self) -> float:
        """Seconds from its assignment until the role had taken its partitions over."""
        return max(float(line["seconds"]) for line in self._acquired())

    def cpu_seconds(self) -> float:
        return _cpu_seconds(self._usage)

    def resident_mib(self) -> float:
        return _resident_mib(self._usage)

    def check(self) -> None:
        """Raise `NotReady` if it has ended."""
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-3000:]
            raise NotReady(f"{self.name} ended with {self._process.returncode}:\n{tail}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _acquired(self) -> list[dict[str, Any]]:
        lines = [_parsed(line) for line in self._log.read_bytes().splitlines()]
        return [line for line in lines if line.get("action") == "role.acquired"]


def _cpu_seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _resident_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / (1 << 20)


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of the log; those of others are no JSON objects."""
    if not line.startswith(b"{"):
        return {}
    try:
        tree = json.loads(line)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}
