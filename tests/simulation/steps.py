"""Random chains of plain handlers of every kind, whose outcome follows from the chain and its input alone."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from beluga_stream import Retry, context, node
from tests.simulation.uses import Lexicon

_SOON = Retry(3, first=0.1, most=2)

Step = Callable[[Any], Any]


def _adds(name: str) -> Step:
    def step(value: list[Any]) -> list[Any]:
        return [*value, name]

    return step


def _adds_later(name: str) -> Step:
    async def step(value: list[Any]) -> list[Any]:
        await asyncio.sleep(random.Random(f"{name}/{context().run_id}").uniform(0, 3))
        return [*value, name]

    return step


def _streams(name: str) -> Step:
    async def step(value: list[Any]) -> AsyncIterator[Any]:
        for each in (*value, name):
            await asyncio.sleep(0.1)
            yield each

    return step


def _streams_in_a_thread(name: str) -> Step:
    def step(value: list[Any]) -> Iterator[Any]:
        yield from (*value, name)

    return step


def _in_the_end(name: str) -> Step:
    """Tells how far it is, and goes on from there."""

    @node(retry=_SOON)
    async def step(value: list[Any]) -> list[Any]:
        done = context().heartbeat_details or 0
        await context().heartbeat(None)
        await context().heartbeat(done + 1)
        if done < 2:
            raise ConnectionError("not yet")
        return [*value, name, done]

    return step


def _blocks_twice(name: str) -> Step:
    @node(retry=_SOON)
    def step(value: list[Any]) -> list[Any]:
        if context().attempt < 3:
            raise ConnectionError("not yet")
        return [*value, name]

    return step


def _in_vain(name: str) -> Step:
    @node(retry=_SOON)
    def step(value: list[Any]) -> list[Any]:
        raise ConnectionError("never")

    return step


def _too_slow(name: str) -> Step:
    @node(timeout=1, retry=Retry(2, first=0.1))
    async def step(value: list[Any]) -> list[Any]:
        await asyncio.sleep(5)
        return value

    return step


def _tells_what_is_no_json(name: str) -> Step:
    async def step(value: list[Any]) -> list[Any]:
        await context().heartbeat(object())
        return value

    return step


def _looks_up(name: str) -> Step:
    async def step(value: list[Any], words: Lexicon) -> list[Any]:
        return [*value, words.words]

    return step


def _exits(name: str) -> Step:
    def step(value: list[Any]) -> list[Any]:
        sys.exit(3)

    return step


def _stops(name: str) -> Step:
    def step(value: list[Any]) -> list[Any]:
        raise StopIteration

    return step


def _is_cancelled(name: str) -> Step:
    def step(value: list[Any]) -> list[Any]:
        raise asyncio.CancelledError("elsewhere")

    return step


def _lies(name: str) -> Step:
    def step(value: list[Any]) -> list[Any]:
        return 7  # type: ignore[return-value]  # what it is about

    return step


_GOOD = (_adds, _adds, _adds, _adds_later, _streams, _streams_in_a_thread, _in_the_end, _blocks_twice, _looks_up)
_BAD = (_in_vain, _too_slow, _tells_what_is_no_json, _exits, _stops, _is_cancelled, _lies)


def random_steps(rnd: random.Random) -> list[Step]:
    """One to six; in one chain of four, one of them fails."""
    kinds = [rnd.choice(_GOOD) for _ in range(rnd.randint(1, 6))]
    if rnd.random() < 0.25:
        kinds[rnd.randrange(len(kinds))] = rnd.choice(_BAD)
    return [_named(kind(f"s{number}"), f"s{number}") for number, kind in enumerate(kinds)]


def _named(step: Step, name: str) -> Step:
    step.__name__ = name
    return step
