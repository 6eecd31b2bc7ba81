"""What is in a file: each part of it has a version of its own."""

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import InvalidConfig

BUSY_SECONDS = 5.0
"""How long a call waits for others that write, in this process and in others."""

Execute = Callable[[str], Any]

_VERSIONS = "CREATE TABLE IF NOT EXISTS beluga_schema (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"


def ensure(execute: Execute, path: str, part: str, version: int, statements: Sequence[str]) -> None:
    """Create what is missing, in one transaction. Raises `InvalidConfig` for a file of a later version."""
    found = _version(execute, part)
    if found is None:
        execute("BEGIN IMMEDIATE")
        try:
            execute(_VERSIONS)
            for statement in statements:
                execute(statement)
            execute(f"INSERT OR IGNORE INTO beluga_schema VALUES ('{part}', {version})")  # noqa: S608 - of this package
        except BaseException:
            execute("ROLLBACK")
            raise
        execute("COMMIT")
    elif found > version:
        raise InvalidConfig(
            f"{path}: its {part} are of version {found}, and this engine knows version {version}: upgrade it, or give "
            f"another file",
            store=path,
        )


def _version(execute: Execute, part: str) -> int | None:
    if not list(execute("SELECT 1 FROM sqlite_master WHERE name = 'beluga_schema'")):
        return None
    rows = list(execute(f"SELECT version FROM beluga_schema WHERE part = '{part}'"))  # noqa: S608 - of this package
    return int(rows[0][0]) if rows else None
