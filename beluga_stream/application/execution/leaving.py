"""Executions that are told to stop. One whose handler does not listen is left behind: nobody waits for it any more."""

import asyncio
import logging
from typing import Any

log = logging.getLogger("beluga_stream.worker")

LEFT_AFTER_SECONDS = 6.0
"""How long one may take to end. A node with a timeout has left its handler behind before that, and has said so."""


class Leaving:
    """Holds those that were told to stop, until they end."""

    def __init__(self) -> None:
        self._stopping: set[asyncio.Task[Any]] = set()

    async def stop(self, task: "asyncio.Task[Any]", node: str, run: str) -> None:
        """Cancel the execution and wait for its end, but not for ever."""
        self._stopping.add(task)
        task.add_done_callback(self._over)
        task.cancel()
        await asyncio.wait({task}, timeout=LEFT_AFTER_SECONDS)
        if not task.done():
            tell_left(node, run)

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._stopping.discard(task)
        if not task.cancelled():
            task.exception()  # nobody wants to know


def tell_left(node: str, run: str) -> None:
    """Say that a handler goes on."""
    log.error(
        "%s of run %s goes on though it was cancelled: it is left behind, and its outcome does not count",
        node,
        run,
        extra={"action": "handler_lost", "run": run, "node": node},
    )
