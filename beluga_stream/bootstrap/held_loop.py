"""Whether somebody holds the event loop of a process: a function that is `async def` and blocks.

Nothing else of the process goes on then: no other node, no timeout of its own, no heartbeat, so that in the end the
broker takes its partitions from it. And what is held cannot say so. A thread looks on, and names the function.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..application.execution.places import short, users_frame

log = logging.getLogger("beluga_stream")

_LOOK_SECONDS = 0.5
_HELD_SECONDS = 1.0


@contextmanager
def told_when_held(*, look: float = _LOOK_SECONDS, held: float = _HELD_SECONDS) -> Iterator[None]:
    """Look on for as long as it is entered, on the loop's own thread: every `look` seconds, for `held` of them."""
    watch = _Watch(asyncio.get_running_loop(), look, held)
    thread = threading.Thread(target=watch.run, name="beluga-held-loop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over.set()
        thread.join()


class _Watch:
    """Asks the loop again and again for a sign of life."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look: float, held: float) -> None:
        self.over = threading.Event()
        self._loop = loop
        self._thread = threading.get_ident()
        self._look = look
        self._held = held
        self._alive = time.monotonic()
        self._since: float | None = None
        """When it began, of what has been told."""

    def run(self) -> None:
        looked = time.monotonic()
        while not self.over.wait(self._look):
            now = time.monotonic()
            if now - looked > self._look + self._held:
                self._alive = now  # the whole process stood still, or the machine has no time for it
            looked = now
            if now - self._alive > self._held and self._since is None:
                self._tell(now)
            elif now - self._alive <= self._held and self._since is not None:
                self._tell_end()
            self._loop.call_soon_threadsafe(self._sign)

    def _sign(self) -> None:
        self._alive = time.monotonic()

    def _tell(self, now: float) -> None:
        """Nothing is said of what the engine itself does, such as reading a large table: it is no user's to mend."""
        frame = users_frame(sys._current_frames().get(self._thread))  # noqa: SLF001 - there is no other way to ask
        if frame is None:
            return
        self._since = self._alive
        place = short(frame.f_code.co_filename, frame.f_lineno)
        log.warning(
            "%s (%s) has held the event loop for %.1f s: nothing else of this process goes on meanwhile, and no "
            "timeout ends it. Make it a plain `def`, which runs in a thread, or await what it waits for",
            frame.f_code.co_name,
            place,
            now - self._alive,
            extra={"action": "loop_held", "function": frame.f_code.co_name, "place": place},
        )

    def _tell_end(self) -> None:
        assert self._since is not None, "it was told of"
        seconds, self._since = self._alive - self._since, None
        log.warning("the event loop goes on, after %.1f s", seconds, extra={"action": "loop_freed", "seconds": seconds})
