"""Standard output, which may be lost: its reader has seen enough, or the disk that it goes to is full."""

import io
import os
import sys
from typing import Any


class OutputLost(Exception):
    """Standard output takes nothing more. `is_read` is False when whoever read it has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_read = not isinstance(error, BrokenPipeError)


class _Output(io.FileIO):
    """Says once that it is lost. What is written after that, as Python does with what is left over, is dropped."""

    _is_lost = False

    def write(self, data: Any, /) -> int:
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                self._is_lost = True
                raise OutputLost(error) from error
        return memoryview(data).nbytes


def watch_output() -> None:
    """Let whatever this process prints raise `OutputLost` where it cannot be written. Where it is closed, drop it."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as the process is
        return
    sys.stdout.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(sys.stdout.fileno(), "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=sys.stdout.isatty(),
    )
