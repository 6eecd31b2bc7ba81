"""Threads of the execution that is going on, for what an async handler is given to call, and what may block.

So a plain function that is called inside of a turn counts and is given up as a node that is one itself.
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .threads import Threads

R = TypeVar("R")

current: contextvars.ContextVar[Threads | None] = contextvars.ContextVar("beluga_threads", default=None)
"""Those of who runs the handler; None outside of one."""


async def in_node_thread(function: Callable[..., R], *given: Any) -> R:
    """Call it in a thread, in the context of the caller. Cancelling gives the call up, and does not end it.

    Outside of a handler the thread is one of the event loop's. Raises `ResourceExhausted` as `Threads` does.
    """
    threads = current.get()
    if threads is None:
        return await asyncio.to_thread(function, *given)
    return await threads.call(functools.partial(contextvars.copy_context().run, function, *given))
