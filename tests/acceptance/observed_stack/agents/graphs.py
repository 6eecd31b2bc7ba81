"""Graphs that make every role have something to tell: a durable one inside another, a chain, failures, an event."""

import asyncio

from pydantic import BaseModel

from beluga_stream import Graph, Retry, Topic, chain


class Order(BaseModel):
    n: int


async def price(n: int) -> int:
    return n * 2


async def sign(total: int) -> str:
    return f"signed {total}"


async def ship(receipt: str) -> str:
    return f"{receipt}, shipped"


sale = Graph[int, str]("sale", durable=True)
sale.set_finish_point(sale.add_node(sign, sale.input))

order = Graph[int, str]("order")
order.set_finish_point(order.add_node(ship, order.add_node(sale, order.add_node(price, order.input), name="sale")))


async def breaks(n: int) -> int:
    raise ValueError(f"{n} is not for me")


broken = Graph[int, int]("broken")
broken.set_finish_point(broken.add_node(breaks, broken.input, retry=Retry(2, first=0.01)))


def first(n: int) -> int:
    if n < 0:
        raise ValueError(f"{n} cannot be counted from")
    return n + 1


words = chain(first, price, name="words")


async def number(arrived: Order) -> int:
    return arrived.n


arrivals = Graph[Order, int]("arrivals")
arrivals.set_finish_point(arrivals.add_node(number, arrivals.input))
arrivals.trigger(Topic("orders.arrived", Order))


async def slow(seconds: int) -> int:
    await asyncio.sleep(seconds)
    return seconds


sleeper = Graph[int, int]("sleeper")
sleeper.set_finish_point(sleeper.add_node(slow, sleeper.input, timeout=120))
