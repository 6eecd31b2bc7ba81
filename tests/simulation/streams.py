"""A graph whose nodes read one another while they run, where each chunk says which execution made it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any

from beluga_stream import Graph, Retry, Stream, context, node
from beluga_stream.domain.payload import Json

CHUNKS = 12

OFTEN = Retry(20, first=0.1, most=5)

Chunk = tuple[int, str]
"""Its number, and the incarnation that yielded it."""


@node(retry=OFTEN, timeout=600)
async def counts(most: int) -> AsyncIterator[Chunk]:
    """Goes on after what it has emitted, if it may; fails now and then."""
    emitted = context().emitted(tuple[int, str])
    for number in range(len(emitted), most):
        await _pace()
        yield number, context().incarnation
        _maybe_fail(number)


@node(retry=OFTEN)
async def tags(chunks: Stream[Chunk]) -> AsyncIterator[tuple[Chunk, str]]:
    """Streams what it reads, with its own mark."""
    emitted = len(context().emitted(tuple[Chunk, str]))
    number = 0
    async for chunk in chunks:
        if number >= emitted:
            yield chunk, context().incarnation
            _maybe_fail(number)
        number += 1


@node(retry=OFTEN)
async def collects(chunks: Stream[Any]) -> list[Any]:
    """All that it reads; slowly now and then."""
    found: list[Any] = []
    async for chunk in chunks:
        found.append(chunk)
        if _drawn(len(found)).random() < 0.1:
            await asyncio.sleep(5)
    return found


async def joins(listed: list[Any], read: list[Any], tagged: list[Any], read_tagged: list[Any]) -> list[Any]:
    return [listed, read, tagged, read_tagged]


def pipeline(name: str, *, first_resumes: bool, second_resumes: bool) -> Graph[int, list[Any]]:
    """A stream that two read, one of whom streams it on to a third; and all of it as lists."""
    graph = Graph[int, list[Any]](name, timeout=36_000)
    counted = graph.add_node(counts, graph.input, resume=first_resumes)
    tagged = graph.add_node(tags, counted.stream, resume=second_resumes)
    read = graph.add_node(collects, counted.stream, name="read")
    read_tagged = graph.add_node(collects, tagged.stream, name="read_tagged")
    graph.set_finish_point(graph.add_node(joins, counted, read, tagged, read_tagged))
    return graph


@node(retry=OFTEN)
async def echoes(chunk: Chunk) -> Chunk:
    """The chunk itself; slowly now and then."""
    if _drawn(chunk[0]).random() < 0.1:
        await asyncio.sleep(3)
    _maybe_fail(chunk[0])
    return chunk


@node(retry=OFTEN, timeout=600)
async def hurries(most: int) -> AsyncIterator[Chunk]:
    """Yields much at once, and fails now and then."""
    for number in range(len(context().emitted(tuple[int, str])), most):
        if number % 20 == 0:
            await _pace()
            _maybe_fail(number)
        yield number, context().incarnation


async def beside(listed: list[Any], mapped: list[Any], again: list[Any]) -> list[Any]:
    return [listed, mapped, again]


def mapped(name: str, *, long: bool, resumes: bool) -> Graph[int, list[Any]]:
    """A stream that two maps go over, and all of it as a list."""
    graph = Graph[int, list[Any]](name, timeout=36_000)
    written = graph.add_node(hurries if long else counts, graph.input, name="writes", resume=resumes)
    first = graph.add_map(echoes, written.stream, max_parallel=3)
    second = graph.add_map(echoes, written.stream, max_parallel=200, name="again")
    graph.set_finish_point(graph.add_node(beside, written, first, second))
    return graph


def wrong_with_map(result: Json, most: int, *, resumes: bool) -> str | None:
    """What must not be in the result of such a graph."""
    listed, first, second = result
    if [number for number, _ in listed] != list(range(most)):
        return f"a gap, or a chunk twice: {listed}"
    for found in (first, second):
        if found != listed:
            return f"a map went over {found} and not {listed}"
    return _mixed(listed, resumes=resumes)


def wrong_with(result: Json, most: int, *, first_resumes: bool, second_resumes: bool) -> str | None:
    """What must not be in a result."""
    listed, read, tagged, read_tagged = result
    if [number for number, _ in listed] != list(range(most)):
        return f"a gap, or a chunk twice: {listed}"
    if read != listed:
        return f"a reader saw {read} and not {listed}"
    if [chunk for chunk, _ in tagged] != listed:
        return f"the second stage saw {tagged} and not {listed}"
    if read_tagged != tagged:
        return f"its reader saw {read_tagged} and not {tagged}"
    return _mixed(listed, resumes=first_resumes) or _mixed(tagged, resumes=second_resumes)


def _mixed(chunks: Sequence[Any], *, resumes: bool) -> str | None:
    blocks = [incarnation for incarnation, _ in groupby(mark for _, mark in chunks)]
    if len(blocks) != len(set(blocks)) or (not resumes and len(blocks) > 1):
        return f"chunks of several executions: {chunks}"
    return None


def _drawn(number: int) -> random.Random:
    now = context()
    return random.Random(f"{now.run_id}/{now.node}/{now.attempt}/{now.incarnation}/{number}")


async def _pace() -> None:
    drawn = random.Random(f"{context().incarnation}/{asyncio.get_running_loop().time()}")
    await asyncio.sleep(drawn.choice([0.0, 0.01, 0.3, 2.0, 4.0]))


def _maybe_fail(number: int) -> None:
    if context().attempt < 4 and _drawn(number).random() < 0.06:
        raise RuntimeError("not yet")
