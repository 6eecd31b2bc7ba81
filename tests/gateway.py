"""The HTTP gateway as users start it: `beluga serve` as a process of its own, on a port that stays the same."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.brokers import HOST, free_port
from tests.engine import Engine, client_environ

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class GatewayProcess:
    """One gateway of an engine. `settings` are BELUGA_HTTP_... variables without the prefix."""

    def __init__(self, engine: Engine, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._log = engine.folder / "gateway.log"
        self._environ = {
            **os.environ,
            **client_environ(engine, "gateway"),
            "BELUGA_TOPICS": engine.environ["BELUGA_TOPICS"],
            "PYTHONPATH": engine.environ["PYTHONPATH"],
            "BELUGA_HTTP_ADDRESS": f"{HOST}:{self.port}",
            **{f"BELUGA_HTTP_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it listens."""
        command = [sys.executable, "-m", "beluga_stream.cli", "serve", "--json"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=self._environ)
        assert self._process.stdout is not None
        late = threading.Timer(_START_SECONDS, self._process.kill)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
            late.join()
        assert line, f"the gateway did not start:\n{self.tail}"
        assert json.loads(line)["address"] == self.url

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Tell it to stop, as an orchestrator does; return its exit code."""
        return self._end(signal.SIGTERM)

    def ended(self, within: float) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the gateway has not ended within {within:g} s:\n{self.tail}") from None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def tail(self) -> str:
        """The end of its log."""
        return Path(self._log).read_text(errors="replace")[-4000:]

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        assert process.stdout is not None
        process.send_signal(how)
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the gateway did not stop within {_STOP_SECONDS:g} s:\n{self.tail}") from None
        finally:
            process.stdout.close()
