"""The port `Calls` in other processes: each has one call at a time, so that one can be killed alone."""

import asyncio
import logging
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ...errors import NotSerializable, ProcessLost
from .child import INTERRUPT, answer, prepare

R = TypeVar("R")

_STOP_SECONDS = 3.0
"""How long a call that is told to stop may take for it."""

log = logging.getLogger("beluga_stream.worker")


class _Seat:
    """One child process. It starts with its first call."""

    def __init__(self, further: Callable[[], None]) -> None:
        self.executor = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=partial(prepare, further)
        )
        self.pid: int | None = None
        self.calling: asyncio.Future[bytes] | None = None

    async def call(self, function: Callable[[], Any]) -> bytes:
        loop = asyncio.get_running_loop()
        if self.pid is None:
            self.pid = await loop.run_in_executor(self.executor, os.getpid)
        self.calling = loop.run_in_executor(self.executor, answer, function)
        return await asyncio.shield(self.calling)

    async def stop(self) -> None:
        """Interrupt the call, and end the child when it is over or does not stop."""
        if self.calling is not None and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, INTERRUPT)
            await asyncio.wait({self.calling}, timeout=_STOP_SECONDS)
            self.calling.add_done_callback(_unheard)
        self.kill()

    def kill(self) -> None:
        """End the child now, whatever it is doing."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.executor.shutdown(wait=False, cancel_futures=True)


class Processes:
    """At most `size` children, started when needed and kept. `further` prepares each: it must be picklable.

    A call that is given up is interrupted, as by Ctrl-C, and its process ends with it; one that does not stop is
    killed. A process that dies is replaced.
    """

    def __init__(self, size: int, further: Callable[[], None]) -> None:
        self._further = further
        self._places = asyncio.Semaphore(size)
        self._idle: list[_Seat] = []
        self._busy: set[_Seat] = set()

    async def call(self, function: Callable[[], R]) -> R:
        """See the port. Raises `ProcessLost` when the process dies in the midst of the call."""
        try:
            pickle.dumps(function)
        except Exception as error:
            raise NotSerializable(f"its arguments cannot go to another process: {error}") from error
        async with self._places:
            seat = self._idle.pop() if self._idle else _Seat(self._further)
            self._busy.add(seat)
            try:
                data = await seat.call(function)
            except BrokenProcessPool as error:
                seat.kill()
                log.warning(
                    "process %s of a handler ended in the midst of a call: another takes its place",
                    seat.pid,
                    extra={"action": "process_lost", "pid": seat.pid},
                )
                raise ProcessLost(
                    "its process ended in the midst of the call: it was killed, is out of memory, or crashed"
                ) from error
            except asyncio.CancelledError:
                await seat.stop()
                raise
            except BaseException:
                seat.kill()
                raise
            finally:
                self._busy.discard(seat)
            self._idle.append(seat)
        value, raised = pickle.loads(data)  # noqa: S301 - written by our own child
        if raised is not None:
            raise raised
        result: R = value
        return result

    async def close(self) -> None:
        """Kill every child, and wait until they are gone."""
        seats = [*self._idle, *self._busy]
        self._idle.clear()
        for seat in seats:
            seat.kill()
        await asyncio.gather(*(asyncio.to_thread(seat.executor.shutdown) for seat in seats))


def _unheard(call: "asyncio.Future[bytes]") -> None:
    """How a call ends that was given up is nobody's business any more."""
    if not call.cancelled():
        call.exception()
