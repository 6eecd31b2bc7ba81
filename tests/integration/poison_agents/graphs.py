"""Handlers that kill their process each time, and innocent ones that run beside them."""

import asyncio
import os
import signal

from beluga_stream import Graph, Retry, node


async def exits(number: int) -> int:
    """Dies at once, before its worker has told anybody that it has begun."""
    os._exit(9)


def crashes_later(number: int) -> int:
    """Dies in its thread, when its worker has held it by a lease for a while."""
    signal.sigtimedwait([], 3)
    os.kill(os.getpid(), signal.SIGSEGV)
    return number


@node(executor="process", retry=Retry(9, first=0.01))
def dies_alone(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


async def innocent(number: int) -> int:
    """Long enough to be hit by whatever kills its worker, and short enough to end between two deaths."""
    await asyncio.sleep(2)
    return number


def _graph(handler: object) -> Graph[int, int]:
    graph = Graph[int, int](handler.__name__)  # type: ignore[attr-defined]
    graph.set_finish_point(graph.add_node(handler, graph.input))  # type: ignore[call-overload]
    return graph


exits_graph = _graph(exits)
crashes_later_graph = _graph(crashes_later)
dies_alone_graph = _graph(dies_alone)
innocent_graph = _graph(innocent)
