"""The engine's processes, started, stopped, paused and killed one by one, by their ids."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import orjson

from tests.chaos.ledger import FOLDER

_REPO = Path(__file__).resolve().parents[2]
_START_SECONDS = 90.0
_POLL_SECONDS = 0.02


async def until(condition: Callable[[], bool], within: float, what: str) -> None:
    """Wait until the condition holds. Raises `TimeoutError` that says what was waited for."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:g} s: {what}")
        await asyncio.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the processes of one cluster live. Nothing is shared between two prefixes."""

    broker: str
    prefix: str
    folder: Path
    partitions: int = 4
    static: bool = False
    """Whether a process takes over the group membership of the one that it replaces."""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def events(self) -> str:
        """The user topic whose events start runs of `triggered`."""
        return f"{self.prefix}.events"

    def settings(self) -> dict[str, str]:
        return {
            "BELUGA_BROKER": self.broker,
            "BELUGA_PREFIX": self.prefix,
            "BELUGA_PARTITIONS": str(self.partitions),
            "BELUGA_AGENTS": "tests.chaos.graphs",
            "BELUGA_TOPICS": str(self.folder / "topics"),
            "BELUGA_BLOBS": str(self.blobs),
            "BELUGA_DATA": str(self.folder / "data"),
            "BELUGA_LOG_FORMAT": "json",
            # As short as the engine allows: what is measured is that nothing is lost, many times over.
            "BELUGA_SESSION_TIMEOUT_SECONDS": "6",
            "BELUGA_LEASE_SECONDS": "8",
            "BELUGA_HEARTBEAT_SECONDS": "2",
            "CHAOS_EVENTS": self.events,
            FOLDER: str(self.ledger),
            **self.environ,
        }


class Process:
    """One `faust -A beluga_stream worker` and its log."""

    def __init__(self, deployment: Deployment, role: str, name: str, seat: str) -> None:
        self.role = role
        self.name = name
        self.seat = seat
        """Its place in the cluster, which it hands on to the one that replaces it."""
        own = {"BELUGA_ROLE": role, **({"BELUGA_INSTANCE": seat} if deployment.static else {})}
        self._log = deployment.folder / f"{name}.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker", "-l", "warn"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=deployment.folder,
            env={**os.environ, "PYTHONPATH": str(_REPO), **deployment.settings(), **own},
        )
        self._log.touch()
        threading.Thread(target=self._keep_log, name=f"log-{name}", daemon=True).start()

    def _keep_log(self) -> None:
        """Write down what it says. It cannot itself: one whose disk is full is to say so."""
        assert self._process.stdout is not None
        with self._process.stdout as said, self._log.open("wb", buffering=0) as log:
            shutil.copyfileobj(said, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def said(self, action: str) -> list[dict[str, Any]]:
        """The lines of its log with this action."""
        wanted = f'"{action}"'.encode()
        found: list[dict[str, Any]] = []
        for line in self._log.read_bytes().splitlines():
            if line.startswith(b"{") and wanted in line:
                with contextlib.suppress(orjson.JSONDecodeError):  # the last one may be half written
                    found.append(orjson.loads(line))
        return [line for line in found if line.get("action") == action]

    @property
    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    @property
    def partitions(self) -> list[int]:
        """What it was assigned last."""
        acquired = self.said("role.acquired")
        return list(acquired[-1]["partitions"]) if acquired else []

    @property
    def ready_ms(self) -> int | None:
        """When it was assigned partitions for the first time (epoch milliseconds), though they may be none."""
        acquired = self.said("role.acquired")
        return int(datetime.fromisoformat(acquired[0]["at"]).timestamp() * 1000) if acquired else None

    async def ready(self) -> None:
        """Wait until it has its partitions, though they may be none."""

        def is_ready() -> bool:
            if self.code is not None:
                raise RuntimeError(f"{self.name} ended with code {self.code}:\n{self.tail}")
            return bool(self.said("role.acquired"))

        await until(is_ready, _START_SECONDS, f"{self.name} gets its partitions:\n{self.tail}")

    def send(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    def fill_disk(self) -> None:
        """From now on every write of it to a file fails, as on a disk without room."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, hard))

    async def ended(self, within: float) -> int:
        """Wait for its end; return its exit code."""
        await until(lambda: self.code is not None, within, f"{self.name} ends:\n{self.tail}")
        return int(self.code or 0)


class Cluster:
    """Coordinators, workers and an ingest, each a process of its own. Use it with `async with`."""

    def __init__(self, deployment: Deployment, *, coordinators: int = 2, workers: int = 2) -> None:
        self.deployment = deployment
        self._counts = {"coordinator": coordinators, "worker": workers, "ingest": 1}
        self._made = 0
        self.processes: list[Process] = []
        self.ended: list[Process] = []

    async def __aenter__(self) -> Self:
        folder = self.deployment.folder
        (folder / "topics").mkdir(parents=True, exist_ok=True)
        declared = f"topics:\n  - name: {self.deployment.events}\n    partitions: 3\n"
        (folder / "topics" / "events.yaml").write_text(declared)
        try:
            for role, count in self._counts.items():
                for number in range(count):
                    self.start(role, f"{role}-seat-{number}")
            await self.ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def ready(self) -> None:
        """Wait until every process was assigned something, or nothing since there are enough of them."""
        for process in self.processes:
            await process.ready()

    def of(self, role: str) -> list[Process]:
        return [process for process in self.processes if process.role == role]

    def start(self, role: str, seat: str) -> Process:
        self._made += 1
        process = Process(self.deployment, role, f"{role}-{self._made}", seat)
        self.processes.append(process)
        return process

    def replace(self, process: Process) -> Process:
        """Start another in its place."""
        return self.start(process.role, process.seat)

    def bury(self, process: Process) -> None:
        """It has ended: no longer one of the cluster's."""
        self.processes.remove(process)
        self.ended.append(process)

    def unexpected(self) -> list[Process]:
        """Processes that ended though nobody ended them."""
        return [process for process in self.processes if process.code is not None]

    async def _stop(self) -> None:
        for process in self.processes:
            if process.code is None:
                process.send(signal.SIGCONT)
                process.send(signal.SIGKILL)
        for process in self.processes:
            await process.ended(10)
