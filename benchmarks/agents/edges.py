"""Graphs whose nodes read one another while they write; the chunks themselves tell how long they took."""

import asyncio
import time
from collections.abc import AsyncIterator

from beluga_stream import Graph, Stream

TICK_SECONDS = 0.005


async def ticks(count: int) -> AsyncIterator[float]:
    """Now, again and again, at a pace."""
    for _ in range(count):
        await asyncio.sleep(TICK_SECONDS)
        yield time.time()


async def delays(stamps: Stream[float]) -> list[float]:
    """Milliseconds from each chunk's yield to its receipt."""
    return [(time.time() - stamp) * 1000 async for stamp in stamps]


async def flood(count: int) -> AsyncIterator[float]:
    """Now, as fast as it goes."""
    for _ in range(count):
        yield time.time()


async def span(stamps: Stream[float]) -> list[float]:
    """How many came, and the seconds from the first one's yield to the last one's receipt."""
    first, count = 0.0, 0
    async for stamp in stamps:
        first = first or stamp
        count += 1
    return [count, time.time() - first]


async def louder(words: Stream[str]) -> AsyncIterator[str]:
    async for word in words:
        yield word.upper()


async def speak(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield f"word {number}"
        await asyncio.sleep(TICK_SECONDS)


paced = Graph[int, list[float]]("paced")
paced.set_finish_point(paced.add_node(delays, paced.add_node(ticks, paced.input).stream))

flooded = Graph[int, list[float]]("flooded")
flooded.set_finish_point(flooded.add_node(span, flooded.add_node(flood, flooded.input).stream))

staged = Graph[int, list[str]]("staged")
first = staged.add_node(speak, staged.input, name="first")
second = staged.add_node(louder, first.stream, name="second")
staged.set_finish_point(staged.add_node(louder, second.stream, name="third"))
