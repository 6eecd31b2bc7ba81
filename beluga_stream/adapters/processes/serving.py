"""What happens in a process that runs one task at a time: it does what it is asked, and ends with its worker."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from .frames import ANSWER, READY, SAID, TASK, Frame, packed, read_frame

_ORPHAN_CODE = 71
_LOOK_SECONDS = 1.0

Tell = Callable[[bytes], Awaitable[None]]
Perform = Callable[[bytes, Tell], Awaitable[bytes]]


def own_output() -> BinaryIO:
    """The pipe to the worker, out of the reach of handlers: what they print goes where the worker's errors go."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def follow_the_worker() -> None:
    """Leave to it what stops the whole group of processes (Ctrl-C, the end of a service), and do not outlive it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # By functions, since what is ignored would be ignored by a handler's own children too.
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_with, args=(os.getppid(),), name="follow-worker", daemon=True).start()


async def serve(perform: Perform, out: BinaryIO) -> None:
    """Say that it is ready, and do tasks until the worker has no more, stops one, or is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)

    def send(frame: Frame) -> None:
        out.write(packed(frame))
        out.flush()

    async def tell(content: bytes) -> None:
        send(Frame(SAID, content))

    send(Frame(READY))
    following = asyncio.create_task(read_frame(reader))
    while (frame := await following) is not None and frame.kind == TASK:
        following = asyncio.create_task(read_frame(reader))
        task = asyncio.ensure_future(perform(frame.content, tell))
        await asyncio.wait({task, following}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            send(Frame(ANSWER))
            return
        send(Frame(ANSWER, task.result()))


def _end_with(worker: int) -> None:
    """A handler that blocks the loop would not see the pipe close."""
    while os.getppid() == worker:
        time.sleep(_LOOK_SECONDS)
    os._exit(_ORPHAN_CODE)
