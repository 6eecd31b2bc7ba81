"""The ledger: what was asked, what handlers really did and how runs ended, written outside the engine.

One file a process, one JSON line for each run that was accepted, each execution's beginning and end, and each
result that a reader was told; on disk before whoever wrote it goes on. A process that is killed leaves executions
that began and never ended; the file keeps them.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

FOLDER = "CHAOS_LEDGER"
"""The environment variable that names the ledger's folder."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `inputs` is what the run or handler was given, `output` what it gave; None when it raised.

    A line about a whole run names no node; the output of a `result` is the run's last status.
    """

    kind: Literal["accepted", "begin", "end", "result"]
    run: str
    graph: str
    node: str
    attempt: int
    incarnation: str
    pid: int
    inputs: Mapping[str, Any]
    output: Any
    at_ms: int


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
        self.accepted: dict[str, Line] = {}
        """By run."""
        self.results: dict[str, list[Line]] = defaultdict(list)
        """By run: more than one line says that it ended more than once."""
        self.executions: dict[tuple[str, str], list[Line]] = defaultdict(list)
        """By run and node: beginnings and ends."""
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

    def open(self, pids: Iterable[int]) -> list[Line]:
        """The executions that have begun and not ended in these processes."""
        self.refresh()
        among = set(pids)
        return [line for line in self._open.values() if line.pid in among]

    def _take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            match line.kind:
                case "accepted":
                    self.accepted[line.run] = line
                case "result":
                    self.results[line.run].append(line)
                case "begin":
                    self.executions[line.run, line.node].append(line)
                    self._open[line.incarnation] = line
                case "end":
                    self.executions[line.run, line.node].append(line)
                    self.ended += 1
                    self._open.pop(line.incarnation, None)
