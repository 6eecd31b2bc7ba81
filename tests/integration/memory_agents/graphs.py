"""A chain and a graph that remember in SQLite. Their folder tells them when to go on, and when their process dies."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel

from beluga_stream import INJECTED, BufferMemory, Graph, History, Retry, SQLiteStore, chain, node, resource
from tests.mortal_store import MortalStore

FOLDER = Path(os.environ["MEMORY_FOLDER"])


class Ask(BaseModel):
    """One turn of a conversation; the answer comes when there is a file of the name `wait`."""

    who: str
    text: str
    wait: str = ""


@resource
async def store() -> AsyncIterator[MortalStore]:
    yield MortalStore(FOLDER)


@node(retry=Retry(5, first=0.1, most=1), timeout=120)
async def answer(ask: Ask, history: History = INJECTED) -> list[str]:
    if ask.wait:
        (FOLDER / f"waiting-{ask.who}").touch()
        while not (FOLDER / ask.wait).exists():  # noqa: ASYNC110 - the test tells by a file
            await asyncio.sleep(0.05)
    return [*(turn.input["text"] for turn in history.turns), ask.text]


async def words(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield f"{line} "


talk = chain(answer, words, memory=BufferMemory(store=MortalStore), conversation=lambda ask: ask.who, name="talk")


async def count(ask: Ask, history: History = INJECTED) -> int:
    return len(history.turns)


async def both(lines: list[str], before: int) -> str:
    return f"{' '.join(lines)}, after {before}"


forum = Graph[Ask, str]("forum", memory=BufferMemory(store=MortalStore), conversation=lambda ask: ask.who)
forum.set_finish_point(forum.add_node(both, forum.add_node(answer, forum.input), forum.add_node(count, forum.input)))

lost = Graph[Ask, list[str]](
    "lost", memory=BufferMemory(store=SQLiteStore("/no/such/folder/memory.db")), conversation=lambda ask: ask.who
)
lost.set_finish_point(lost.add_node(answer, lost.input))
