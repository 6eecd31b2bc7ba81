"""Calling what users give: agents, judges, choosers."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..application.node_threads import in_node_thread
from ..errors import InvalidGraph

T = TypeVar("T")
R = TypeVar("R")


async def call(function: Callable[[T], Awaitable[R] | R], value: T) -> R:
    """What a function says, which may be async; one that is not runs in a thread, so that it may block."""
    if _is_async(function):
        found: Any = function(value)
    else:
        found = await in_node_thread(function, value)
    result: R = await found if inspect.isawaitable(found) else found
    return result


def check_callable(graph: str, **given: object) -> None:
    """Raises `InvalidGraph` for what cannot be called, by the name under which it was given; None is none."""
    for name, one in given.items():
        if one is not None and not callable(one):
            way = ", as its .invoke" if hasattr(one, "invoke") else ""
            raise InvalidGraph(
                f"graph {graph!r}: {name} is a {type(one).__name__}, which cannot be called: give a function{way}",
                graph=graph,
            )


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
