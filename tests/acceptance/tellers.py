"""Graphs whose streams take a while; a deployment as BELUGA_AGENTS=tests.acceptance.tellers."""

import asyncio
from collections.abc import AsyncIterator

from beluga_stream import Graph


async def tell(words: int) -> AsyncIterator[str]:
    for number in range(words):
        yield f"word-{number}"
        await asyncio.sleep(0.04)


def whole(words: list[str]) -> str:
    return " ".join(words)


teller = Graph[int, str]("teller")
teller.set_finish_point(teller.add_node(whole, teller.add_node(tell, teller.input)))
