"""The threads of the handler that runs, for functions that it is given to call and that may block.

So a plain function that an async handler calls takes up one of its worker's threads, and is given up with its node, as
a plain function that is a node itself.
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .threads import Threads

R = TypeVar("R")

current: contextvars.ContextVar[Threads | None] = contextvars.ContextVar("beluga_threads", default=None)
"""Of whoever runs the handler; None outside of one."""


async def in_node_thread(function: Callable[..., R], *given: Any) -> R:
    """Call it in a thread, in the context of the caller. Cancelling gives the call up, and does not end it.

    Outside of a handler the thread is one of the event loop's. Raises `ResourceExhausted` as `Threads` does.
    """
    threads = current.get()
    if threads is None:
        return await asyncio.to_thread(function, *given)
    return await threads.call(functools.partial(contextvars.copy_context().run, function, *given))
