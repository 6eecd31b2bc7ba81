"""Turns with their vectors in a file of SQLite, compared by sqlite-vec.

By way of apsw, which has a SQLite of its own: Python's is often built without extensions.
"""

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...application.execution.plain_calls import STORES
from ...application.in_process.sqlite_files import take
from ...domain.conversation import MOST_TURNS, as_vector, check_bounds, check_length, check_name, check_size
from ...errors import InvalidConfig, StoreUnavailable
from .held import Held
from .schema import BUSY_SECONDS, ensure

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")

_VERSION = 1
_TABLES = (
    (
        "CREATE TABLE IF NOT EXISTS vectors (place INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT NOT NULL, "
        "turn TEXT NOT NULL, vector BLOB NOT NULL, value BLOB NOT NULL, UNIQUE (conversation, turn))"
    ),
    "CREATE INDEX IF NOT EXISTS vectors_by_place ON vectors (conversation, place)",
)
_BYTES = 4  # of one number


class SQLiteVectors:
    """The port `VectorStore`, in the file at this path, which is its own. Needs the extra `vectors`.

    It keeps the last `keep` turns of each conversation and compares all of one, which takes milliseconds for thousands.
    Raises `InvalidConfig` for bounds below 1 and without the extra, and when it is first used for a file that a
    `SQLiteStore`, a `SharedCircuits` or the provider `dbos` has in this process.
    """

    def __init__(self, path: str | Path, *, keep: int = MOST_TURNS) -> None:
        check_bounds("SQLiteVectors", keep=keep)
        try:
            import apsw  # noqa: PLC0415 - an extra: only who searches needs it
            import sqlite_vec  # noqa: PLC0415
        except ImportError as error:
            raise InvalidConfig("SQLiteVectors needs sqlite-vec: pip install 'beluga-stream[vectors]'") from error
        self._apsw, self._path, self._keep = apsw, str(path), keep
        self._held = Held(partial(_opened, self._path, sqlite_vec.loadable_path()))

    def __repr__(self) -> str:
        return f"SQLiteVectors({self._path!r})"

    async def add(self, conversation: str, turn: str, vector: Sequence[float], value: bytes, /) -> bool:
        check_name("the conversation", conversation)
        check_name("the turn's id", turn)
        check_size("the turn", value)
        given = as_vector(vector)

        def write(database: "apsw.Connection") -> bool:
            check_length(conversation, _size(database, conversation), len(given))
            statement = "INSERT OR IGNORE INTO vectors (conversation, turn, vector, value) VALUES (?, ?, ?, ?)"
            database.execute(statement, (conversation, turn, _packed(given), value))
            if database.changes() == 0:
                return False
            database.execute(
                "DELETE FROM vectors WHERE conversation = ?1 AND place <= "
                "(SELECT place FROM vectors WHERE conversation = ?1 ORDER BY place DESC LIMIT 1 OFFSET ?2)",
                (conversation, self._keep),
            )
            return True

        return await self._do(write)

    async def search(self, conversation: str, vector: Sequence[float], k: int, /) -> Sequence[bytes]:
        check_name("the conversation", conversation)
        given = as_vector(vector)

        def read(database: "apsw.Connection") -> list[bytes]:
            check_length(conversation, _size(database, conversation), len(given))
            rows = database.execute(
                "SELECT value FROM vectors WHERE conversation = ? "
                "ORDER BY coalesce(vec_distance_cosine(vector, ?), 1), place LIMIT ?",
                (conversation, _packed(given), k),
            )
            return [bytes(row[0]) for row in rows]

        return await self._do(read)

    async def clear(self, conversation: str, /) -> None:
        check_name("the conversation", conversation)

        def write(database: "apsw.Connection") -> None:
            database.execute("DELETE FROM vectors WHERE conversation = ?", (conversation,))

        await self._do(write)

    async def _do(self, work: "Callable[[apsw.Connection], T]") -> T:
        return await STORES.call(self._in_transaction, work, time.monotonic() + BUSY_SECONDS)

    def _in_transaction(self, work: "Callable[[apsw.Connection], T]", until: float) -> T:
        with self._telling(), self._held.transaction(self._apsw.Connection.execute, until) as database:
            return work(database)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except self._apsw.NotADBError as error:
            raise InvalidConfig(f"the store {self!r} is no database of SQLite: {error}", store=self) from error
        except (self._apsw.Error, TimeoutError) as error:
            raise StoreUnavailable(
                f"the store {self!r} does not answer ({error}): is its folder there, its disk not full, "
                f"the file writable, and nobody at it for longer than {BUSY_SECONDS:g} s?",
                store=self,
            ) from error


def _opened(path: str, extension: str, seconds: float) -> "apsw.Connection":
    import apsw  # noqa: PLC0415 - see SQLiteVectors

    take(path, "apsw")
    database = apsw.Connection(path)
    try:
        database.set_busy_timeout(round(seconds * 1000))
        database.enable_load_extension(True)  # noqa: FBT003 - it takes no names
        database.load_extension(extension)
        database.execute("PRAGMA journal_mode = WAL")
        ensure(database.execute, path, "vectors", _VERSION, _TABLES)
    except BaseException:
        database.close()
        raise
    return database


def _size(database: "apsw.Connection", conversation: str) -> int | None:
    statement = "SELECT length(vector) FROM vectors WHERE conversation = ? LIMIT 1"
    for row in database.execute(statement, (conversation,)):
        return int(row[0]) // _BYTES
    return None


def _packed(vector: tuple[float, ...]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)
