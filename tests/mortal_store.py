"""A store of conversations that kills its process when it is told to, and what tests read of it."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from beluga_stream import SQLiteStore


class MortalStore(SQLiteStore):
    """Notes each save that is tried. When there is the file `dies`, its process is killed right after the next one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "memory.db")
        self._folder = folder

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        first = await super().append(conversation, turn, value)
        with (self._folder / "tried").open("a") as tried:
            tried.write(f"{turn} {first}\n")
        dies = self._folder / "dies"
        if dies.exists():
            dies.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return first


def kept(folder: Path) -> list[tuple[str, str, Any]]:
    """Conversation, text and answer of each turn, in the order of their saving."""
    with closing(sqlite3.connect(folder / "memory.db")) as database:
        rows = database.execute("SELECT conversation, value FROM turns ORDER BY place").fetchall()
    turns = [(who, orjson.loads(value)) for who, value in rows]
    return [(who, turn["input"]["text"], turn["output"]) for who, turn in turns]


def tried(folder: Path) -> list[tuple[str, ...]]:
    """The turn of each save that was tried, and whether it was the first."""
    return [tuple(line.split()) for line in (folder / "tried").read_text().splitlines()]
