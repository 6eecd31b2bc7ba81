"""Threads for plain functions that may block, wherever they are called from: what users give, and what stores do.

Not the event loop's executor: a call that is stuck there keeps its place for good, and a loop waits for it at its end.
Each kind has threads of its own, so that users' functions hold up no store.
"""

import asyncio
import contextvars
import functools
import weakref
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

from .threads import Threads, end_idle

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_AT_ONCE = 32


class PlainCalls:
    """At most `size` calls at once in each event loop, but for those that were given up. They end with their loop."""

    def __init__(self, size: int = _AT_ONCE) -> None:
        self._size = size
        self._of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = weakref.WeakKeyDictionary()

    def give(self, loop: asyncio.AbstractEventLoop, threads: Threads) -> None:
        """Let calls in this loop have these threads."""
        self._of_loops[loop] = threads

    async def call(self, function: Callable[[Unpack[Ts]], R], *given: *Ts) -> R:
        """Call it in a thread, in the context of the caller. Cancelling gives the call up, and does not end it.

        Raises `ResourceExhausted` when every place is taken by calls that were given up.
        """
        inside = contextvars.copy_context()
        return await self._threads().call(functools.partial(inside.run, function, *given))

    def _threads(self) -> Threads:
        loop = asyncio.get_running_loop()
        threads = self._of_loops.get(loop)
        if threads is None:
            threads = Threads(self._size)
            weakref.finalize(threads, end_idle, threads.idle)
            self.give(loop, threads)
        return threads


FUNCTIONS = PlainCalls()
"""For what users give."""

STORES = PlainCalls()
"""For what stores do."""
