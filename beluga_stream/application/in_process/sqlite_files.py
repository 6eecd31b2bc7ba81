"""Which SQLite library of this process has opened a file: Python's own, or the one that comes with apsw. Never both.

Locks on a file belong to a process, so two SQLite libraries in one process do not see each other: when one of them
closes the file, it takes itself for the last user, and deletes the log that the other goes on writing to.
"""

import os
from pathlib import Path
from typing import Literal

from ...errors import InvalidConfig

Library = Literal["python", "apsw"]

_taken: dict[str, Library] = {}
"""By real path, as long as the process lives: a connection may be closed late."""


def take(path: str | Path, library: Library) -> None:
    """Call it before a file is opened. Raises `InvalidConfig` when the other SQLite has it in this process."""
    if _taken.setdefault(os.path.realpath(path), library) != library:
        raise InvalidConfig(
            f"{path}: vectors and what else is kept in SQLite cannot share a file in one process, or what one saves "
            f"would be lost: give SQLiteVectors a file of its own (of a file that holds both, a copy)",
            store=path,
        )
