"""States of circuit breakers in a SQLite file, shared by the processes of one machine."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from ...application.in_process.circuits import LocalCircuits
from ...application.in_process.sqlite_files import take
from ...domain.circuit import CLOSED, Circuit
from ...errors import InvalidConfig

R = TypeVar("R")

_TABLE = """
CREATE TABLE IF NOT EXISTS circuits_1 (
    name TEXT PRIMARY KEY, failures INTEGER NOT NULL, opened_ms INTEGER, trial_ms INTEGER
) WITHOUT ROWID
"""
_READ = "SELECT failures, opened_ms, trial_ms FROM circuits_1 WHERE name = ?"
_WRITE = "INSERT OR REPLACE INTO circuits_1 VALUES (?, ?, ?, ?)"
_BUSY_SECONDS = 1.0

log = logging.getLogger("beluga_stream.resilience")


class SharedCircuits:
    """Circuits that processes of one machine share, in the SQLite file at `path`.

    Each use opens the file and closes it, so that nothing is left open, and a fork inherits nothing. While the file
    cannot be used, circuits are this process's own: that is logged once, and again when the file is back.

    Raises `InvalidConfig` when the file cannot be made, or is a `SQLiteVectors`' in this process.
    """

    waits = True

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._own = LocalCircuits()
        self._lost = False
        self._lock = threading.Lock()
        take(self._path, "python")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened():
                pass
        except (sqlite3.Error, OSError) as error:
            raise InvalidConfig(f"SharedCircuits({str(path)!r}): the file cannot be used: {error}") from error

    def read(self, name: str) -> Circuit:
        try:
            with self._opened() as opened:
                found = _found(opened, name)
        except sqlite3.Error as error:
            self._away(error)
            return self._own.read(name)
        self._back()
        return found

    def update(self, name: str, change: Callable[[Circuit], tuple[Circuit, R]]) -> R:
        try:
            with self._opened() as opened:
                # What a power cut forgets is learnt again from the next calls.
                opened.execute("PRAGMA synchronous = OFF")
                opened.execute("BEGIN IMMEDIATE")
                before = _found(opened, name)
                after, told = change(before)
                if after != before:
                    opened.execute(_WRITE, (name, after.failures, after.opened_ms, after.trial_ms))
                opened.execute("COMMIT")
        except sqlite3.Error as error:
            self._away(error)
            return self._own.update(name, change)
        self._back()
        return told

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file, in a transaction at most: one that is not committed is rolled back."""
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as opened:
            opened.execute(_TABLE)  # somebody may have deleted the file meanwhile
            yield opened

    def _away(self, error: sqlite3.Error) -> None:
        with self._lock:
            told, self._lost = self._lost, True
        if not told:
            log.warning(
                "circuits are this process's own for now: %s: %s",
                self._path,
                error,
                extra={"action": "circuits.away"},
            )

    def _back(self) -> None:
        if self._lost:
            with self._lock:
                self._lost = False
            log.info("circuits are shared again: %s", self._path, extra={"action": "circuits.back"})


def _found(opened: sqlite3.Connection, name: str) -> Circuit:
    row = opened.execute(_READ, (name,)).fetchone()
    return CLOSED if row is None else Circuit(*row)
