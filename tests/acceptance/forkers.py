"""Agents whose runs are forked: a stream, a map, a branch and a join, and a node that fails while a file is there."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from beluga_stream import Graph, Retry, Stream, context, node

LONG = 70_000


def _note(name: str) -> None:
    """Count an execution where the test can see it."""
    with Path(os.environ["BELUGA_FORKERS"]).open("a") as notes:
        notes.write(f"{context().run_id} {name}\n")


async def words(text: str) -> AsyncIterator[str]:
    _note("words")
    for word in text.split():
        yield word


async def swell(text: str) -> str:
    _note("swell")
    return text[:1] * LONG


async def length(word: str) -> int:
    _note("length")
    return len(word)


async def hear(said: Stream[str]) -> str:
    _note("hear")
    return "-".join([word async for word in said])


async def few(total: list[int]) -> str:
    _note("few")
    return f"few {sum(total)}"


async def many(total: list[int]) -> str:
    _note("many")
    return f"many {sum(total)}"


def is_few(total: list[int]) -> bool:
    return len(total) < 3


@node(retry=Retry(1))
async def report(heard: str, size: str, big: str) -> str:
    _note("report")
    if Path(os.environ["BELUGA_FORKERS"]).with_suffix(".broken").exists():
        raise ValueError("the printer is out of ink")
    return f"{heard}: {size} ({len(big)})"


forkers = Graph[str, str]("forkers")
said = forkers.add_node(words, forkers.input)
big = forkers.add_node(swell, forkers.input)
lengths = forkers.add_map(length, said)
heard = forkers.add_node(hear, said.stream)
size = forkers.first(
    forkers.add_node(few, lengths.when(is_few)), forkers.add_node(many, lengths.otherwise()), name="size"
)
reported = forkers.add_node(report, heard, size, big)
forkers.set_finish_point(reported)
