"""Calling what users give, agents, judges and choosers, and looking at what they give back."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..application.execution.node_threads import in_node_thread
from ..errors import InvalidGraph, InvalidInput

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


async def ask(graph: str, who: str, function: Callable[[T], Awaitable[R] | R], value: T, *kinds: type) -> R:
    """The same, for one that must give something of these kinds. Raises `InvalidInput`: asked again it would not."""
    found = await call(function, value)
    if not isinstance(found, kinds):
        raise wrong(graph, who, found, " or ".join(kind.__name__ for kind in kinds))
    return found


def wrong(graph: str, who: str, found: object, wanted: str) -> InvalidInput:
    """What is to be said of a member that gave what is not wanted."""
    given = "None" if found is None else type(found).__name__
    return InvalidInput(f"graph {graph!r}: {who} gave {given}, and must give {wanted}", graph=graph)


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
