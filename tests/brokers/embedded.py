"""The broker that comes with the engine."""

import shutil
import signal
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from .answering import HOST, free_port, wait_until_ready
from .broker import BrokerUnavailable
from .ending import end


class EmbeddedBroker:
    """The broker that `beluga dev` starts: one small process that speaks a subset of Kafka's protocol."""

    real = False

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._port = free_port()
        self.address = f"{HOST}:{self._port}"
        self.title = "the embedded broker (noida-db)"

    def start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="beluga-embedded-"))
        # The program itself, not the wheel's script around it: that one does not pass a signal on.
        with as_file(files("noida_db") / "noida-db") as program, (self._folder / "log").open("wb") as log:
            program.chmod(0o755)
            options = [
                "--only",
                "kafka",
                "--kafka-port",
                str(self._port),
                "--data-dir",
                str(self._folder / "data"),
            ]
            self._process = subprocess.Popen([program, "start", *options], stdout=log, stderr=log)
        if not wait_until_ready(self.address, self._process):
            output = (self._folder / "log").read_text(errors="replace")[-2000:]
            self.stop()
            raise BrokerUnavailable(f"the embedded broker did not start:\n{output}")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGTERM, patience=5)
            self._process = None
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = Path()
