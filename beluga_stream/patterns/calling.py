"""Calling what users give: agents, judges, choosers."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def call(function: Callable[[T], Awaitable[R] | R], value: T) -> R:
    """What a function says, which may be async; one that is not runs in a thread, so that it may block."""
    if _is_async(function):
        found: Any = function(value)
    else:
        found = await asyncio.to_thread(function, value)
    result: R = await found if inspect.isawaitable(found) else found
    return result


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
