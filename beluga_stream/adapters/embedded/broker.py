"""The embedded broker: one small child process that speaks a subset of Kafka's protocol.

For a first look and for development. In memory: nothing is kept when it stops.
"""

import os
import shutil
import socket
import struct
import tempfile
import time
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Self

from ...errors import LogUnavailable
from .child import Child

HOST = "127.0.0.1"
_READY_WITHIN = 30.0
_ASK_AGAIN = 0.02
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""The request every Kafka broker answers: which versions of the protocol it speaks."""
_HEAD_BYTES = 8


class EmbeddedBroker:
    """Started on a free port of the loopback (or `port`), stopped by its process id."""

    title = "the embedded broker (in memory: nothing is kept when it stops)"

    def __init__(self, port: int | None = None) -> None:
        self._port = port or free_port()
        self.address = f"{HOST}:{self._port}"
        self._folder: Path | None = None
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The broker's process, while it runs."""
        return None if self._child is None else self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.is_running

    def start(self) -> None:
        """Return when it answers. Raises `LogUnavailable` when it does not."""
        if answers(self.address):
            raise LogUnavailable(
                f"something else listens at {self.address} already: choose another port, or, if that is a Kafka, "
                f"use it by BELUGA_BROKER={self.address}"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="beluga-broker-"))
        # The program itself, not the wheel's script around it: that one does not pass a signal on.
        with as_file(files("noida_db") / "noida-db") as program:
            if not os.access(program, os.X_OK):  # as some installers leave it; where it is another user's we may not
                program.chmod(0o755)
            options = ["--only", "kafka", "--kafka-port", str(self._port)]
            command: list[str | Path] = [program, "start", *options, "--data-dir", self._folder / "data"]
            self._child = Child(command, output=self._folder / "log", patience=5.0)
            try:
                self._child.start()
                self._wait(self._child)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Leave nothing behind. May be called when it never started."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _wait(self, child: Child) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not answers(self.address):
            if not child.is_running or time.monotonic() > deadline:
                raise LogUnavailable(f"the embedded broker did not start: {child.last_words() or 'it said nothing'}")
            time.sleep(_ASK_AGAIN)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(address: str) -> bool:
    """Whether a broker speaks there: an open port alone may have nobody behind it."""
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(_API_VERSIONS)
        return len(connection.recv(_HEAD_BYTES)) == _HEAD_BYTES
    return False
