"""Graphs whose nodes read one another while they run. Each chunk tells which execution gave it."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel

from beluga_stream import Graph, Retry, Stream, context, node

LEDGER = "STREAM_LEDGER"
"""Names the file in which a reader notes each chunk that it has taken."""

_AGAIN = Retry(5, first=0.1, most=1)


class Order(BaseModel):
    """How many chunks, the seconds between two, and those before the first one of the first attempt."""

    chunks: int
    pace: float
    delay: float = 0


class Chunk(BaseModel):
    """A chunk, by the execution that yielded it."""

    number: int
    by: str


class Seen(BaseModel):
    """A chunk as a reader took it."""

    chunk: Chunk
    by: str


class Report(BaseModel):
    """A stream as a list, and as it was read live."""

    written: list[Chunk]
    seen: list[Seen]


@node(queue="writers", retry=_AGAIN, timeout=300)
async def writes(order: Order) -> AsyncIterator[Chunk]:
    if context().attempt == 1:
        await asyncio.sleep(order.delay)
    for number in range(len(context().emitted(Chunk)), order.chunks):
        await asyncio.sleep(order.pace)
        yield Chunk(number=number, by=context().incarnation)


@node(queue="readers", retry=_AGAIN, timeout=300)
async def reads(chunks: Stream[Chunk]) -> AsyncIterator[Seen]:
    own = context()
    async for chunk in chunks:
        _note(f"{own.run_id} {chunk.number} {own.incarnation} {os.getpid()}")
        yield Seen(chunk=chunk, by=own.incarnation)


def _note(line: str) -> None:
    with Path(os.environ[LEDGER]).open("a") as ledger:
        ledger.write(f"{line}\n")


@node(queue="readers", retry=_AGAIN, timeout=300)
async def takes(chunk: Chunk) -> Seen:
    own = context()
    _note(f"{own.run_id} {chunk.number} {own.incarnation} {os.getpid()}")
    return Seen(chunk=chunk, by=own.incarnation)


@node(queue="readers")
async def reports(written: list[Chunk], seen: list[Seen]) -> Report:
    return Report(written=written, seen=seen)


def graph(name: str, *, resume: bool) -> Graph[Order, Report]:
    made = Graph[Order, Report](name, timeout=600)
    written = made.add_node(writes, made.input, resume=resume)
    seen = made.add_node(reads, written.stream)
    made.set_finish_point(made.add_node(reports, written, seen))
    return made


def mapped(name: str, *, resume: bool) -> Graph[Order, Report]:
    made = Graph[Order, Report](name, timeout=600)
    written = made.add_node(writes, made.input, resume=resume)
    seen = made.add_map(takes, written.stream, max_parallel=4)
    made.set_finish_point(made.add_node(reports, written, seen))
    return made


restarting = graph("restarting", resume=False)
resuming = graph("resuming", resume=True)
mapped_restarting = mapped("mapped_restarting", resume=False)
mapped_resuming = mapped("mapped_resuming", resume=True)
