"""The chains and graphs of the provider contract. A provider that runs what is deployed deploys this module.

They keep nothing between runs: what must be counted is told by the attempt, so that they may run anywhere.
"""

import asyncio
from collections.abc import AsyncIterator

from ..api.chain import chain
from ..api.graph import Graph
from ..api.node import node
from ..api.retry import Retry
from ..api.signal import Signal
from ..application.execution.context import context

SOON = Retry(3, first=0.001, most=0.001)


def strip(text: str) -> str:
    return text.strip()


async def words(text: str) -> list[str]:
    return text.split()


def count(found: list[str]) -> int:
    return len(found)


async def spell(found: list[str]) -> AsyncIterator[str]:
    for word in found:
        yield word


@node(retry=SOON)
async def third_time(text: str) -> int:
    if context().attempt < 3:  # noqa: PLR2004 - the third, as its name says
        raise ConnectionError("not yet")
    return context().attempt


@node(retry=SOON)
def wrong(text: str) -> str:
    raise TypeError("no attempt can mend this")


@node(retry=Retry(1))
def breaks(text: str) -> str:
    raise ConnectionError("gone")


async def forever(text: str) -> str:
    await asyncio.Event().wait()
    return text


def double(number: int) -> int:
    return number * 2


async def add_one(number: int) -> int:
    return number + 1


def total(a: int, b: int) -> int:
    return a + b


def join_texts(text: str, answer: str) -> str:
    return f"{text} {answer}"


counted = chain(strip, words, count, name="contract-counted")
spelled = chain(strip, words, spell, name="contract-spelled")
mended = chain(strip, third_time, name="contract-mended")
hopeless = chain(wrong, name="contract-hopeless")
broken = chain(strip, breaks, strip, name="contract-broken")
endless = chain(forever, name="contract-endless")

diamond = Graph[int, int]("contract-diamond")
_one = diamond.add_node(add_one, diamond.input)
diamond.set_finish_point(diamond.add_node(total, diamond.add_node(double, _one), _one))

both = Graph[int, dict[str, int]]("contract-both")
both.set_finish_point(both.add_node(add_one, both.input), both.add_node(double, both.input))

nested = Graph[str, int]("contract-nested")
nested.set_finish_point(nested.add_node(double, nested.add_node(counted, nested.input)))

answer = Signal("contract-answer", str)
asking = Graph[str, str]("contract-asking")
_heard = asking.wait(answer, after=asking.input, timeout=60)
asking.set_finish_point(asking.add_node(join_texts, asking.input, _heard))
