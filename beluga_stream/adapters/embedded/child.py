"""A child process that is always stopped: asked first, killed when it does not listen."""

import atexit
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ...errors import InvalidConfig

_LAST_WORDS = 2_000
_KILLED_WITHIN = 10.0


class Child:
    """One process with its output in a file. It is in a session of its own: Ctrl-C reaches only its parent.

    `patience` (seconds) is how long it may take to stop before it is killed.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        output: Path,
        environ: Mapping[str, str] | None = None,
        patience: float = 10.0,
    ) -> None:
        self.output = output
        self._command = [str(word) for word in command]
        self._environ = {**os.environ, **(environ or {})}
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, as long as it was not stopped."""
        return None if self._process is None else self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code of a process that has ended by itself."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. Raises `InvalidConfig` when its program cannot be run."""
        with self.output.open("ab") as output:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own programs
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environ,
                    start_new_session=True,
                )
            except OSError as error:
                raise InvalidConfig(f"{self._command[0]} cannot be run: {error}") from error
        # Whatever way this process ends, by a second Ctrl-C for one: the child does not outlive it.
        atexit.register(self.stop)

    def stop(self) -> None:
        """Ask it to end, kill it after the patience, and wait for it. May be called at any time."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=self._patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=_KILLED_WITHIN)

    def last_words(self) -> str:
        """The end of what it wrote."""
        if not self.output.exists():
            return ""
        return self.output.read_text(errors="replace")[-_LAST_WORDS:].strip()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
