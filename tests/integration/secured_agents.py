"""The graphs of tests/integration/test_security.py: each needs other things of the broker."""

import asyncio
from collections.abc import AsyncIterator

from beluga_stream import Graph, Signal, Stream, Topic, context, debounce


async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


async def count(words: Stream[str]) -> int:
    return len([word async for word in words])


async def long(number: int) -> int:
    """Long enough for a lease, with a sign of life."""
    await asyncio.sleep(0.8)
    await context().heartbeat({"at": number})
    return number + 1


def large(number: int) -> str:
    return "x" * 100_000


def length(text: str) -> int:
    return len(text)


def same(number: int) -> int:
    return number


def total(numbers: list[int]) -> int:
    return sum(numbers)


async def forever(number: int) -> int:
    await asyncio.sleep(3600)
    return number


talk = Graph[str, int]("talk")
talk.set_finish_point(talk.add_node(count, talk.add_node(words, talk.input).stream))
talk.trigger(Topic("secured.events", str))

settled = Graph[str, int]("settled")
settled.set_finish_point(settled.add_node(length, settled.input))
settled.trigger(debounce(Topic("secured.events", str), quiet=0.5))

leased = Graph[int, int]("leased")
leased.set_finish_point(leased.add_node(length, leased.add_node(large, leased.add_node(long, leased.input))))

paged = Graph[list[int], int]("paged")
paged.set_finish_point(paged.add_node(total, paged.add_map(same, paged.input)))

asks = Graph[int, int]("asks")
asks.set_finish_point(asks.wait(Signal("answer", int), after=asks.input, timeout=3600))

stuck = Graph[int, int]("stuck")
stuck.set_finish_point(stuck.add_node(forever, stuck.input))
