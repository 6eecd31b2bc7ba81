"""Connections to SQLite that know what DBOS asks of it, whichever SQLite this Python has."""

import sqlite3
import time
from typing import Any

_KNOWS_FRACTIONS = sqlite3.sqlite_version_info >= (3, 42)


class Connection(sqlite3.Connection):
    """From Python 3.12 on DBOS takes a SQLite of 3.42 or later for granted, and Python runs with any.

    What it asks for, `unixepoch('subsec')`, an older one answers with nothing, and no workflow can be written.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not _KNOWS_FRACTIONS:
            self.create_function("unixepoch", 1, _unixepoch)


def _unixepoch(modifier: str) -> float:
    """The only call that there is: the seconds since 1970, and their fraction."""
    assert modifier == "subsec", modifier
    return time.time()
