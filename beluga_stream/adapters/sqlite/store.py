"""Conversations and results in one file of SQLite, which any number of processes of a machine may share.

Each process has one connection, used in threads, one at a time: no loop owns the store, and nobody has to close it.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from ...application.execution.plain_calls import STORES
from ...application.in_process.sqlite_files import take
from ...domain.conversation import MOST_TURNS, Entry, check_bounds, check_name, check_size
from ...errors import InvalidConfig, StoreUnavailable
from .held import Held
from .schema import BUSY_SECONDS, ensure

T = TypeVar("T")

_VERSION = 1
_TABLES = (
    (
        "CREATE TABLE IF NOT EXISTS turns (place INTEGER PRIMARY KEY AUTOINCREMENT, "
        "conversation TEXT NOT NULL, turn TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (conversation, turn))"
    ),
    "CREATE INDEX IF NOT EXISTS turns_by_place ON turns (conversation, place)",
    (
        "CREATE TABLE IF NOT EXISTS facts (conversation TEXT NOT NULL, name TEXT NOT NULL, "
        "value BLOB NOT NULL, PRIMARY KEY (conversation, name)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE IF NOT EXISTS marks (place INTEGER PRIMARY KEY AUTOINCREMENT, "
        "conversation TEXT NOT NULL, turn TEXT NOT NULL, UNIQUE (conversation, turn))"
    ),
    "CREATE INDEX IF NOT EXISTS marks_by_place ON marks (conversation, place)",
    "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value BLOB NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS results_by_end ON results (until)",
)
_OLDER = (
    "DELETE FROM {table} WHERE conversation = :conversation AND place <= "
    "(SELECT place FROM {table} WHERE conversation = :conversation ORDER BY place DESC LIMIT 1 OFFSET :keep)"
)
_TRIM = {table: _OLDER.format(table=table) for table in ("turns", "marks")}


class SQLiteStore:
    """The ports `ConversationStore` and `ResultStore`, in the file at this path; its folder must be there.

    It keeps the last `keep` turns of each conversation and `results` results. Raises `InvalidConfig` for bounds
    below 1, and when it is first used for what is no database, one of a later version, or a `SQLiteVectors`' here.
    """

    def __init__(self, path: str | Path, *, keep: int = MOST_TURNS, results: int = 100_000) -> None:
        check_bounds("SQLiteStore", keep=keep, results=results)
        if str(path) in ("", ":memory:"):
            raise InvalidConfig(f"SQLiteStore({str(path)!r}): give a file's path; InProcessStore() keeps nothing")
        self._path, self._keep, self._results = str(path), keep, results
        self._held = Held(partial(_opened, self._path))

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        check_name("the conversation", conversation)
        check_name("the turn's id", turn)
        check_size("the turn", value)

        def write(database: sqlite3.Connection) -> bool:
            statement = "INSERT OR IGNORE INTO turns (conversation, turn, value) VALUES (?, ?, ?)"
            if database.execute(statement, (conversation, turn, value)).rowcount == 0:
                return False
            database.execute(_TRIM["turns"], {"conversation": conversation, "keep": self._keep})
            return True

        return await self._do(write)

    async def load(
        self, conversation: str, /, *, last: int | None = None, before: int | None = None
    ) -> Sequence[Entry]:
        check_name("the conversation", conversation)

        def read(database: sqlite3.Connection) -> list[Entry]:
            rows = database.execute(
                "SELECT place, turn, value FROM turns WHERE conversation = ? AND place < ? ORDER BY place DESC LIMIT ?",
                (conversation, (1 << 63) - 1 if before is None else before, -1 if last is None else last),
            )
            return [Entry(*row) for row in rows][::-1]

        return await self._do(read)

    async def put(self, conversation: str, turn: str, facts: Mapping[str, bytes | None], /) -> bool:
        check_name("the conversation", conversation)
        check_name("the turn's id", turn)
        for name, value in facts.items():
            check_name("a fact's name", name)
            check_size(f"fact {name!r}", value or b"")

        def write(database: sqlite3.Connection) -> bool:
            mark = "INSERT OR IGNORE INTO marks (conversation, turn) VALUES (?, ?)"
            if database.execute(mark, (conversation, turn)).rowcount == 0:
                return False
            database.execute(_TRIM["marks"], {"conversation": conversation, "keep": self._keep})
            for name, value in facts.items():
                if value is None:
                    database.execute("DELETE FROM facts WHERE conversation = ? AND name = ?", (conversation, name))
                else:
                    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (conversation, name, value))
            return True

        return await self._do(write)

    async def get(self, conversation: str, /) -> Mapping[str, bytes]:
        check_name("the conversation", conversation)
        statement = "SELECT name, value FROM facts WHERE conversation = ?"
        return await self._do(lambda database: dict(database.execute(statement, (conversation,)).fetchall()))

    async def clear(self, conversation: str, /) -> None:
        check_name("the conversation", conversation)

        def write(database: sqlite3.Connection) -> None:
            for table in ("turns", "facts", "marks"):
                database.execute(f"DELETE FROM {table} WHERE conversation = ?", (conversation,))  # noqa: S608 - one of three

        await self._do(write)

    async def fetch(self, key: str, /) -> bytes | None:
        def read(database: sqlite3.Connection) -> bytes | None:
            statement = "SELECT value FROM results WHERE key = ? AND until > ?"
            row = database.execute(statement, (key, time.time())).fetchone()
            return None if row is None else bytes(row[0])

        return await self._do(read)

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        check_size("the result", value)

        def write(database: sqlite3.Connection) -> None:
            now = time.time()
            database.execute("DELETE FROM results WHERE until <= ?", (now,))
            database.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", (key, value, now + seconds))
            database.execute(
                "DELETE FROM results WHERE key IN (SELECT key FROM results ORDER BY until DESC LIMIT -1 OFFSET ?)",
                (self._results,),
            )

        await self._do(write)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await STORES.call(self._in_transaction, work, time.monotonic() + BUSY_SECONDS)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T], until: float) -> T:
        with self._telling(), self._held.transaction(sqlite3.Connection.execute, until) as database:
            return work(database)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, TimeoutError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise InvalidConfig(f"the store {self!r} is no database of SQLite: {error}", store=self) from error
            raise StoreUnavailable(
                f"the store {self!r} does not answer ({error}): is its folder there, its disk not full, "
                f"the file writable, and nobody at it for longer than {BUSY_SECONDS:g} s?",
                store=self,
            ) from error


def _opened(path: str, seconds: float) -> sqlite3.Connection:
    take(path, "python")
    database = sqlite3.connect(path, timeout=seconds, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # what is saved outlives the machine's power
        ensure(database.execute, path, "conversations", _VERSION, _TABLES)
    except BaseException:
        database.close()
        raise
    return database
