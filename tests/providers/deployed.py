"""What engines of other processes run for the tests of providers: the contract's works, and one that takes too long."""

import asyncio
import time
from pathlib import Path
from typing import Any

from beluga_stream import Graph
from beluga_stream.testing.contract_works import *  # noqa: F403 - as its own module would be deployed


async def reserve(folder: str) -> str:
    return folder


def release(folder: str, reserved: str) -> None:
    time.sleep(0.5)  # who does not wait for it finds nothing undone
    Path(folder, "released").touch()


async def forever_held(folder: str) -> str:
    await asyncio.Event().wait()
    return folder


def build(graph: Graph[Any, Any]) -> None:
    """Reserve something, which is to be undone, and never come to an end."""
    graph.set_finish_point(graph.add_node(forever_held, graph.add_node(reserve, graph.input, compensate=release)))


held = Graph[str, str]("provider-held")
build(held)
