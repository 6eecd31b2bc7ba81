"""Graphs whose streams take a while; a deployment as BELUGA_AGENTS=tests.acceptance.tellers."""

import asyncio
from collections.abc import AsyncIterator

from beluga_stream import Graph, Signal


async def tell(words: int) -> AsyncIterator[str]:
    for number in range(words):
        yield f"word-{number}"
        await asyncio.sleep(0.04)


async def tell_on(words: list[str], until: int) -> AsyncIterator[str]:
    for number in range(len(words), until):
        yield f"word-{number}"


def whole(words: list[str]) -> str:
    return " ".join(words)


teller = Graph[int, str]("teller")
teller.set_finish_point(teller.add_node(whole, teller.add_node(tell, teller.input)))

held = Graph[int, str]("held")  # tells no more until it hears how much more
begun = held.add_node(tell, held.input)
held.set_finish_point(
    held.add_node(whole, held.add_node(tell_on, begun, held.wait(Signal("on", int), after=begun, timeout=600)))
)
