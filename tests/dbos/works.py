"""A graph whose nodes write down that they ran, and the process that is killed: `python -m tests.dbos.works`."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from beluga_stream import Graph, Orchestrator, Signal, Stream, context
from beluga_stream.bootstrap.settings import Settings

ID = "run-1"
word = Signal("word", str)

at_work = threading.Event()
"""Set when the second node is."""


def note(folder: str, node: str) -> None:
    with (Path(folder) / "ran").open("a") as file:
        file.write(f"{node}\n")


async def go(folder: str) -> None:
    """Goes on where the file `go` is, else says so and stays."""
    if not (Path(folder) / "go").exists():
        print("stays", flush=True)
        await asyncio.Event().wait()


async def first(folder: str) -> str:
    note(folder, "first")
    return folder


async def second(folder: str) -> int:
    note(folder, "second")
    at_work.set()
    await go(folder)
    return context().attempt


async def counts(folder: str) -> AsyncIterator[int]:
    note(folder, "counts")
    for number in range(len(context().emitted(int)), 4):
        if number == 2:
            await go(folder)
        yield number


async def again(folder: str) -> AsyncIterator[int]:
    note(folder, "again")
    for number in range(4):
        if number == 2:
            await go(folder)
        yield number


async def listed(numbers: Stream[int]) -> list[int]:
    return [number async for number in numbers]


async def told(second: int, counted: list[int], anew: list[int], said: str) -> list[Any]:
    return [second, counted, anew, said]


killed = Graph[str, list[Any]]("killed", durable=True)
_first = killed.add_node(first, killed.input)
_counts = killed.add_node(counts, _first, resume=True)
_again = killed.add_node(again, _first)
killed.set_finish_point(
    killed.add_node(
        told,
        killed.add_node(second, _first),
        killed.add_node(listed, _counts.stream, name="counted"),
        killed.add_node(listed, _again.stream, name="anew"),
        killed.wait(word, after=_first, timeout=60),
    )
)


async def same(number: int) -> int:
    return number


idle = Graph[int, int]("idle", durable=True)
idle.set_finish_point(idle.add_node(same, idle.input))


async def main(folder: str, what: str) -> None:
    async with Orchestrator(Settings.load(dbos_database=f"{folder}/dbos.sqlite")) as orch:
        made = orch.create_workflow(killed, provider="dbos")
        if what == "start":
            await made.execute(folder, id=ID)
            await made.signal(ID, word, "hello")
            print("told", flush=True)
        print(await made.get_result(ID, timeout=60), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
