"""Handlers that the tests of isolation run in a process of its own; it loads this file as its deployment."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from beluga_stream import Graph, context, resource


class Counter:
    """A resource: one for each process."""

    def __init__(self) -> None:
        self.opened_in = os.getpid()


@resource
async def counter() -> AsyncIterator[Counter]:
    yield Counter()


async def facts(value: Any) -> Any:
    here = context()
    await here.heartbeat({"at": 1})
    print("a handler's own words are no frame")
    return [os.getpid(), here.run_id, here.node, here.attempt, here.heartbeat_details, value]


def in_a_thread(value: Any) -> Any:
    return [os.getpid(), value]


async def with_resource(value: Any, found: Counter) -> Any:
    return found.opened_in == os.getpid()


async def stream(value: int) -> AsyncIterator[int]:
    for number in range(value):
        yield number


def stream_in_a_thread(value: int) -> Iterator[int]:
    yield from range(value)


async def raises(value: Any) -> Any:
    raise ValueError("from over there")


async def exits(value: Any) -> Any:
    os._exit(9)


async def crashes(value: Any) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)
    await asyncio.Event().wait()


def _write(place: str, text: str) -> None:
    Path(place).write_text(text)


async def waits(value: str) -> Any:
    _write(value, str(os.getpid()))
    try:
        await asyncio.Event().wait()
    finally:
        _write(value, "cleaned up")


async def blocks(value: str) -> Any:
    _write(value, str(os.getpid()))
    time.sleep(3600)  # noqa: ASYNC251 - what must not be done in a loop


HANDLERS = (facts, in_a_thread, with_resource, stream, stream_in_a_thread, raises, exits, crashes, waits, blocks)


def _graph(handler: Any) -> Graph[Any, Any]:
    graph = Graph[Any, Any](handler.__name__)
    graph.set_finish_point(graph.add_node(handler, graph.input))
    return graph


GRAPHS = {handler.__name__: _graph(handler) for handler in HANDLERS}
globals().update({f"graph_{name}": graph for name, graph in GRAPHS.items()})
