"""The graphs of tests/integration/test_encryption.py: values take every way that a value can take."""

import os
from collections.abc import AsyncIterator

from beluga_stream import Graph, Retry, Signal, Topic, context, node, on_run


async def words(text: str) -> AsyncIterator[str]:
    await context().heartbeat({"told": text})
    for word in text.split():
        yield word


def joined(words: list[str]) -> str:
    return " ".join(words)


def many(text: str) -> list[str]:
    return [f"{text} {number}" for number in range(150)]


def few(text: str) -> list[str]:
    return [f"{text} {number}" for number in range(3)]


def louder(text: str) -> str:
    return text + "!"


def long_line(text: str) -> str:
    return text * 3000


def shortest(lines: list[str]) -> str:
    return min(lines, key=len)


def first(line: str, lines: list[str], answer: str) -> list[str]:
    return [line[:40], lines[-1], answer]


@node(retry=Retry(1))
def wants_number(text: str) -> str:
    return text


tells = Graph[str, str]("tells")
tells.set_finish_point(tells.add_node(joined, tells.add_node(words, tells.input)))
tells.trigger(Topic(os.environ.get("SEALED_EVENTS", "sealed.events"), str))

parts = Graph[str, str]("parts")
parts.set_finish_point(parts.add_node(shortest, parts.add_map(louder, parts.add_node(many, parts.input))))

asks = Graph[str, list[str]]("asks")
line = asks.add_node(long_line, asks.input)
lines = asks.add_map(louder, asks.add_node(few, asks.input))
asks.set_finish_point(asks.add_node(first, line, lines, asks.wait(Signal("answer", str), after=line, timeout=3600)))

both = Graph[str, dict[str, str]]("both")
both.set_finish_point(both.add_node(louder, both.input), both.add_node(wants_number, both.input))

after = Graph[str, str]("after")
after.set_finish_point(after.add_node(louder, after.input))
after.trigger(on_run(tells, "succeeded"))
