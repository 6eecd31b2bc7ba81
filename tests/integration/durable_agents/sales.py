"""A sale that is approved by a person, on Temporal; and an order that has one in it."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from beluga_stream import Graph, Retry, Signal, Topic, context


@dataclass
class Decision:
    """What a person says to a sale."""

    ok: bool


approval = Signal("approval", Decision)


async def ask(order: str) -> str:
    return f"may {order} be sold?"


async def letter(question: str, decision: Decision) -> AsyncIterator[str]:
    for word in (question, "yes" if decision.ok else "no"):
        yield word


async def sign_for(order: str, decision: Decision) -> str:
    return f"{order} {decision.ok}"


async def sign(words: list[str]) -> str:
    return " ".join(words)


sale = Graph[str, str]("sale", durable=True, timeout=timedelta(days=4))
asked = sale.add_node(ask, sale.input)
decided = sale.wait(approval, after=asked, timeout=timedelta(days=3), remind=timedelta(days=1), name="decided")
written = sale.add_node(letter, asked, decided)
sale.set_finish_point(sale.add_node(sign, written))
sale.trigger(Topic("durable-sales", str))


async def take(order: str) -> str:
    return order.upper()


async def ship(receipt: str) -> str:
    return f"{receipt} {context().run_id}"


order = Graph[str, str]("order", timeout=timedelta(days=7))
taken = order.add_node(take, order.input)
sold = order.add_node(sale, taken, name="sale")
order.set_finish_point(order.add_node(ship, sold))


async def endure(order: str) -> str:
    """Goes on until it is told to stop, and leaves a note of that; unless there is a note that it need not."""
    place = Path(os.environ["NOTES"]) / order
    if place.with_name(f"{order}-need-not").exists():
        return order
    place.write_text("begun")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        place.write_text("told to stop")
        raise
    return order


lasting = Graph[str, str]("lasting", durable=True, timeout=timedelta(days=1))
lasting.set_finish_point(lasting.add_node(endure, lasting.input))

errand = Graph[str, str]("errand", timeout=timedelta(days=1))
errand.set_finish_point(errand.add_node(lasting, errand.input, name="lasting"))


async def mend(order: str) -> str:
    """Fails until there is a note that says that it may not."""
    if not (Path(os.environ["NOTES"]) / f"{order}-mended").exists():
        raise ValueError("broken")
    return f"{order} is mended"


fragile = Graph[str, str]("fragile", durable=True)
fragile.set_finish_point(fragile.add_node(mend, fragile.input, retry=Retry(1)))


async def reserve(order: str) -> str:
    return order


async def take_back(order: str, reserved: str) -> str:
    return reserved


reservation = Graph[str, str]("reservation", durable=True, timeout=timedelta(days=4))
reserved = reservation.add_node(reserve, reservation.input, compensate=take_back)
reservation.set_finish_point(
    reservation.add_node(sign_for, reserved, reservation.wait(approval, after=reserved, timeout=timedelta(days=3)))
)
