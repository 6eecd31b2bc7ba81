"""Whether this process has the keys of the workflows that go on in a file: asked before DBOS begins with it.

What DBOS cannot read when it takes a workflow over it records as failed, for good.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ...application.sealing import key_of, unseal
from ...errors import InvalidInput, KeyMissing, Tampered
from ...ports.cipher import Cipher
from .serializer import OWNER, SEALED, sealed_bytes

_ENDED = "'SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'"


def check_keys(database: Path, cipher: Cipher | None) -> None:
    """Raises `KeyMissing` when a workflow that goes on was written with a key that is not here.

    A key of which some values open is the right one: whoever has altered the others has harmed only their workflows.
    """
    if not database.exists():
        return
    opens: dict[str, bool] = {}
    with closing(sqlite3.connect(database)) as connection:
        for kept in _kept(connection):
            try:
                sealed = sealed_bytes(kept)
                key = key_of(sealed)
            except InvalidInput:
                continue
            if opens.get(key):
                continue
            try:
                unseal(cipher, sealed, OWNER)
            except KeyMissing as error:
                raise _missing(database, key) from error
            except Tampered:
                opens[key] = False
            else:
                opens[key] = True
    for key, does in opens.items():
        if not does:
            raise _missing(database, key, is_other=True)


def _kept(connection: sqlite3.Connection) -> Iterator[str]:
    """The sealed values of workflows that go on, wherever this or an earlier version of DBOS keeps them."""
    columns = connection.execute(
        "SELECT t.name, o.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS o, "
        "pragma_table_info(t.name) AS c WHERE t.type = 'table' AND c.type = 'TEXT' "
        "AND o.name IN ('workflow_uuid', 'destination_uuid')"
    ).fetchall()
    for table, owner, column in columns:
        found = connection.execute(
            f'SELECT "{column}" FROM "{table}" WHERE "{column}" GLOB ? AND "{owner}" IN '  # noqa: S608 - the schema's names
            f"(SELECT workflow_uuid FROM workflow_status WHERE status NOT IN ({_ENDED}))",
            (f"{SEALED}*",),
        )
        for (kept,) in found:
            yield kept


def _missing(database: Path, key: str, *, is_other: bool = False) -> KeyMissing:
    lacks = "and this process has another of that id" if is_other else "which this process does not have"
    return KeyMissing(
        f"workflows that go on in {database} are encrypted with key {key!r}, {lacks}: put it into "
        f"BELUGA_ENCRYPTION_KEY_FILE, and they go on; see docs/security.md",
        key=key,
    )
