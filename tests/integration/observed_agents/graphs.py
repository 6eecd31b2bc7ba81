"""Graphs whose traces, metrics and logs are looked at."""

import asyncio
import os

from pydantic import BaseModel

from beluga_stream import Graph, Retry, Topic, chain, context, join

PREFIX = os.environ.get("BELUGA_PREFIX", "beluga")


class Event(BaseModel):
    key: str
    n: int


def first(n: int) -> int:
    if n < 0:
        raise ValueError(f"{n} cannot be counted from")
    context().logger.info("counting from %d", n, extra={"action": "counting"})
    return n + 1


async def left(n: int) -> int:
    return n * 2


async def right(n: int) -> int:
    return n * 3


async def both(a: int, b: int) -> int:
    return a + b


diamond = Graph[int, int]("diamond")
_first = diamond.add_node(first, diamond.input)
diamond.set_finish_point(diamond.add_node(both, diamond.add_node(left, _first), diamond.add_node(right, _first)))


async def breaks(n: int) -> int:
    raise ValueError(f"{n} is not for me")


broken = Graph[int, int]("broken")
broken.set_finish_point(broken.add_node(breaks, broken.input, retry=Retry(2, first=0.01)))

outer = Graph[int, int]("outer")
outer.set_finish_point(outer.add_node(diamond, outer.input))


def key(event: Event) -> str:
    return event.key


async def total(numbers: list[int]) -> int:
    return sum(numbers)


joined = Graph[list[int], int]("joined")
joined.set_finish_point(joined.add_node(total, joined.input))
joined.trigger(
    join(Topic(f"{PREFIX}-in.a", Event).by(key), Topic(f"{PREFIX}-in.b", Event).by(key), within=60, lateness=1),
    lambda events: [event.n for event in events if event is not None],
)

orders = Graph[Event, int]("orders")


async def number(event: Event) -> int:
    return event.n


orders.set_finish_point(orders.add_node(number, orders.input))
orders.trigger(Topic(f"{PREFIX}-in.orders", Event))


async def slow(n: int) -> int:
    await asyncio.sleep(n)
    return n


sleeper = Graph[int, int]("sleeper")
sleeper.set_finish_point(sleeper.add_node(slow, sleeper.input, timeout=60))

words = chain(first, left, name="words")
