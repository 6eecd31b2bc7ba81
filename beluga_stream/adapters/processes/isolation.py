"""The port `Isolation`: processes with one task at a time, started when a task needs one and ended when none waits."""

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from ...bounds import within
from ...errors import ProcessLost, ResourceExhausted
from .frames import ANSWER, READY, SAID, STOP, TASK, Frame, packed, read_frame

log = logging.getLogger("beluga_stream.worker")

_START_SECONDS = 120.0
"""It loads the whole deployment: models may take a while."""

_STOP_SECONDS = 3.0
"""How long a task that is told to stop may take for it, and an idle process for its end."""

Tell = Callable[[bytes], Awaitable[None]]


class _Child:
    """One process."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None, "it was made with pipes"
        assert process.stdout is not None, "it was made with pipes"
        self._process = process
        self._in, self._out = process.stdin, process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, command: Sequence[str]) -> "_Child":
        """Start one and wait until it is ready. Raises `ResourceExhausted`."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        child = cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environ))
        try:
            async with within(_START_SECONDS):
                frame = await read_frame(child._out)
        except BaseException:
            await child.kill()
            raise
        if frame is None or frame.kind != READY:
            told = await child.end()
            raise ResourceExhausted(f"no process of its own could be started for it: {told} at its start")
        return child

    async def ask(self, task: bytes, tell: Tell) -> bytes:
        """Raises `ProcessLost`."""
        await self._send(Frame(TASK, task))
        while (frame := await read_frame(self._out)) is not None:
            if frame.kind == ANSWER:
                return frame.content
            if frame.kind == SAID:
                await tell(frame.content)
        told = await self.end()
        log.warning(
            "process %d of a node %s in the midst of it",
            self.pid,
            told,
            extra={"action": "process_lost", "pid": self.pid},
        )
        raise ProcessLost(f"the process that it had to itself {told}")

    async def stop(self) -> None:
        """Tell the task to stop, and end the process."""
        with suppress(TimeoutError):
            async with within(_STOP_SECONDS):
                await self._send(Frame(STOP))
                while (frame := await read_frame(self._out)) is not None and frame.kind != ANSWER:
                    pass
        await self.kill()

    async def end(self) -> str:
        """Let it end when it is idle, or see how it has ended."""
        self._in.close()
        with suppress(TimeoutError):
            async with within(_STOP_SECONDS):
                await self._process.wait()
        await self.kill()
        code = self._process.returncode or 0
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    async def kill(self) -> None:
        """End it now, whatever it is doing."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    async def _send(self, frame: Frame) -> None:
        with suppress(ConnectionError):  # it has ended: reading says so
            self._in.write(packed(frame))
            await self._in.drain()


class Isolated:
    """At most `size` processes of this command, which answers as `serving` does."""

    def __init__(self, size: int, command: Sequence[str]) -> None:
        self._command = command
        self._places = asyncio.Semaphore(size)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._ending: set[asyncio.Task[str]] = set()

    async def ask(self, task: bytes, tell: Tell) -> bytes:
        """See the port."""
        async with self._places:
            child = self._idle.pop() if self._idle else await _Child.start(self._command)
            self._busy.add(child)
            try:
                answer = await child.ask(task, tell)
            except asyncio.CancelledError:
                await child.stop()
                raise
            except BaseException:
                await child.kill()
                raise
            finally:
                self._busy.discard(child)
            self._idle.append(child)
        if not self._places.locked():
            self._let_go()
        return answer

    async def close(self) -> None:
        """End every process, and wait until they are gone."""
        children = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*self._ending, *(child.kill() for child in children))

    def _let_go(self) -> None:
        """Nobody waits: they hold memory for nothing."""
        idle, self._idle = self._idle, []
        for child in idle:
            ending = asyncio.create_task(child.end())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
