"""The ledger: what handlers really did, written outside the engine and on disk before they go on.

One file a process, one JSON line for each execution's beginning and end. A process that is killed
leaves executions that began and never ended; the file keeps them.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

FOLDER = "CHAOS_LEDGER"
"""The environment variable that names the ledger's folder."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `inputs` is what the handler was given, `output` what it gave; None when it raised."""

    kind: Literal["begin", "end"]
    run: str
    graph: str
    node: str
    attempt: int
    incarnation: str
    pid: int
    inputs: Mapping[str, Any]
    output: Any = None


class Ledger:
    """Appends lines. Many writers share one fsync, so that the disk does not set the pace."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._syncing: asyncio.Task[None] | None = None

    async def write(self, line: Line) -> None:
        """Return when the line is on disk."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((orjson.dumps(line) + b"\n", future))
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync())
        await future

    async def _sync(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            await asyncio.to_thread(self._append, b"".join(data for data, _ in taken))
            for _, future in taken:
                if not future.done():  # its handler may have been cancelled
                    future.set_result(None)

    def _append(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fsync(self._file)


class LedgerReader:
    """Reads all files of a folder, again and again, from where it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self.lines: list[Line] = []
        self.ended = 0
        """How many executions have ended."""
        self._open: dict[str, Line] = {}

    def refresh(self) -> None:
        """Take what was written since the last time, but no line that a kill has cut off."""
        for path in sorted(self._folder.glob("*.jsonl")):
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = begin + len(whole)
            self._take(Line(**orjson.loads(line)) for line in whole.splitlines())

    def unfinished(self, pids: Iterable[int]) -> int:
        """How many executions have begun and not ended in these processes."""
        self.refresh()
        among = set(pids)
        return sum(line.pid in among for line in self._open.values())

    def _take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self.lines.append(line)
            if line.kind == "begin":
                self._open[line.incarnation] = line
            else:
                self.ended += 1
                self._open.pop(line.incarnation, None)
