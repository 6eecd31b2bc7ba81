"""Graphs that several events start together."""

import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from beluga_stream import Graph, Topic, batch, debounce, join

PREFIX = os.environ.get("BELUGA_PREFIX", "beluga")
WITHIN = float(os.environ.get("JOIN_WITHIN", "20"))
LATENESS = float(os.environ.get("JOIN_LATENESS", "5"))


class Event(BaseModel):
    key: str
    n: int


def topic(name: str) -> Topic[Event]:
    return Topic(f"{PREFIX}.{name}", Event)


def key(event: Event) -> str:
    return event.key


async def total(numbers: list[int]) -> int:
    return sum(numbers)


async def what_is_there(events: tuple[Event | None, Event | None, Event | None]) -> str:
    return "".join("-" if event is None else name for name, event in zip("abc", events, strict=True))


async def count(events: list[Event]) -> list[int]:
    return [event.n for event in events]


async def number(event: Event) -> int:
    return event.n


part = Graph[tuple[Event | None, Event | None, Event | None], str]("part")
part.set_finish_point(part.add_node(what_is_there, part.input))

whole = Graph[list[int], int]("whole")
whole.set_finish_point(whole.add_node(total, whole.input))
whole.trigger(
    join(
        topic("a").by(key),
        topic("b").by(key),
        topic("c").by(key),
        within=WITHIN,
        lateness=LATENESS,
        on_missing=part,
    ),
    lambda events: [event.n for event in events],
)

many = Graph[list[Event], list[int]]("many")
many.set_finish_point(many.add_node(count, many.input))
many.trigger(batch(topic("many").by(key), size=3, within=2))

settled = Graph[Event, int]("settled")
settled.set_finish_point(settled.add_node(number, settled.input))
settled.trigger(debounce(topic("edits").by(key), quiet=2))


def note(event: Event) -> int:
    """Leaves a line behind for each execution."""
    with Path(os.environ["JOIN_LEDGER"]).open("a") as ledger:
        ledger.write(f"{event.n}\n")
    return event.n


async def same(text: str) -> str:
    return text


noted = Graph[Event, int]("noted")
noted.set_finish_point(noted.add_node(note, noted.input))
noted.trigger(topic("docs"), where=lambda message: message.data.n >= 0)

yearly = Graph[str, str]("yearly")
yearly.set_finish_point(yearly.add_node(same, yearly.input))
yearly.schedule("0 0 1 1 *", tz="Europe/Berlin", input=datetime.isoformat)

often = Graph[str, str]("often")
often.set_finish_point(often.add_node(same, often.input))
often.schedule("*/10 * * * * *", input="now", name="often")
