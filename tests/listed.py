"""Runs that a test did not start itself, by the list of runs."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from beluga_stream import Client, Graph, Run

O = TypeVar("O")  # noqa: E741 - as everywhere for output

_PATIENCE_SECONDS = 60.0


async def listed(client: Client, graph: Graph[Any, O], *, but: Sequence[str] = ()) -> Run[O]:
    """The one run of this graph that has none of these ids, once the list has it."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            found = [run.id for run in await client.list(graph=graph.name) if run.id not in but]
            if found:
                (run,) = found
                return client.run(graph, run)
