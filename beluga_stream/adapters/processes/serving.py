"""What happens in a process that runs one task at a time: it does what it is asked, and ends with its worker."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from .frames import ANSWER, READY, SAID, TASK, Frame, packed, read_frame

Tell = Callable[[bytes], Awaitable[None]]
Perform = Callable[[bytes, Tell], Awaitable[bytes]]


def own_output() -> BinaryIO:
    """The pipe to the worker, out of the reach of handlers: what they print goes where the worker's errors go."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def leave_signals_to_the_worker() -> None:
    """Ctrl-C and the end of a service reach the whole group of processes: the worker says what is to stop.

    By functions, since what is ignored would be ignored by a handler's own children too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


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
