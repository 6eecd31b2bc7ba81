"""A chain that remembers in SQLite. Its folder tells it when to go on, and when its process has to die."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel

from beluga_stream import INJECTED, BufferMemory, Graph, History, Retry, SQLiteStore, chain, node, resource

FOLDER = Path(os.environ["MEMORY_FOLDER"])
FILE, TRIED, DIES, WAITING = (FOLDER / name for name in ("memory.db", "tried", "dies", "waiting"))


class Ask(BaseModel):
    """One turn of a conversation; the answer comes when there is a file of the name `wait`."""

    who: str
    text: str
    wait: str = ""


class MortalStore(SQLiteStore):
    """Notes each save that is tried. When there is the file `dies`, its process is killed right after the next one."""

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        first = await super().append(conversation, turn, value)
        with TRIED.open("a") as tried:
            tried.write(f"{turn} {first}\n")
        if DIES.exists():
            DIES.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return first


@resource
async def store() -> AsyncIterator[MortalStore]:
    yield MortalStore(FILE)


@node(retry=Retry(5, first=0.1, most=1), timeout=120)
async def answer(ask: Ask, history: History = INJECTED) -> list[str]:
    if ask.wait:
        WAITING.touch()
        while not (FOLDER / ask.wait).exists():  # noqa: ASYNC110 - the test tells by a file
            await asyncio.sleep(0.05)
    return [*(turn.input["text"] for turn in history.turns), ask.text]


async def words(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield f"{line} "


talk = chain(answer, words, memory=BufferMemory(store=MortalStore), conversation=lambda ask: ask.who, name="talk")

lost = Graph[Ask, list[str]](
    "lost", memory=BufferMemory(store=SQLiteStore("/no/such/folder/memory.db")), conversation=lambda ask: ask.who
)
lost.set_finish_point(lost.add_node(answer, lost.input))
