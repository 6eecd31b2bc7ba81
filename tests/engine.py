"""The engine as users start it: `faust -A beluga_stream worker` as a process of its own, for one test or module."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from beluga_stream import Client, connect
from beluga_stream.bootstrap.rights import Holder
from tests.admitted import apply_topics, login

_REPO = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_STOP_SECONDS = 40.0


class Engine:
    """One engine process with a prefix of its own. `settings` are BELUGA_... variables without the prefix."""

    def __init__(self, broker: str, folder: Path, **settings: str) -> None:
        self.broker = broker
        self.prefix = f"t-{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.log = folder / "engine.log"
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(_REPO),
            "BELUGA_BROKER": broker,
            "BELUGA_PREFIX": self.prefix,
            "BELUGA_BLOBS": str(folder / "blobs"),
            "BELUGA_DATA": str(folder / "data"),
            "BELUGA_TOPICS": str(folder / "topics"),
            "BELUGA_LOG_FORMAT": "json",
            **{f"BELUGA_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._login: dict[str, str] | None = None

    def start(self, *, groups: int = 3) -> None:
        """Start it and wait until so many roles have their partitions."""
        (self.folder / "topics").mkdir(parents=True, exist_ok=True)
        if self._login is None:
            apply_topics(self.environ, self.folder)
            self._login = login(self.environ, self.roles, self.folder)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**self.environ, **self._login},
            )
        deadline = time.monotonic() + _START_SECONDS
        while len(self.said("role.acquired")) < groups:
            if self._process.poll() is not None:
                raise AssertionError(f"the engine ended with code {self._process.returncode}:\n{self.tail}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the engine is not ready after {_START_SECONDS:g} s:\n{self.tail}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    @property
    def roles(self) -> list[Holder]:
        """What it is, as who hands out rights calls it."""
        return cast("list[Holder]", self.environ.get("BELUGA_ROLE", "coordinator,worker,ingest").split(","))

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker", "-l", "warn"]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def said(self, action: str) -> list[Mapping[str, object]]:
        """The lines of its log with this action."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines[:]) if line.get("action") == action]

    def ended(self, within: float) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the engine has not ended within {within:g} s:\n{self.tail}") from None

    def stop(self) -> int:
        """Tell it to stop, as an orchestrator does; return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise AssertionError(f"the engine did not stop within {_STOP_SECONDS:g} s:\n{self.tail}") from None


@contextlib.contextmanager
def running(broker: str, folder: Path, *, groups: int = 3, **settings: str) -> Iterator[Engine]:
    """An engine for as long as the block lasts; it must stop cleanly."""
    engine = Engine(broker, folder, **settings)
    engine.start(groups=groups)
    try:
        yield engine
    finally:
        code = engine.stop()
    assert code == 0, f"the engine ended with code {code}:\n{engine.tail}"


def client_environ(engine: Engine, holder: Holder = "client") -> dict[str, str]:
    """What a client of this engine, or another holder of rights, needs in its environment."""
    names = ("BELUGA_BROKER", "BELUGA_PREFIX", "BELUGA_BLOBS", "BELUGA_ENCRYPTION_KEYS")
    needed = {name: engine.environ[name] for name in names if name in engine.environ}
    return needed | login(engine.environ, [holder], engine.folder)


@contextlib.asynccontextmanager
async def connected(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of this engine, by the environment as a user has it."""
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    async with connect() as client:
        yield client
