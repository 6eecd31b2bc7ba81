"""The port `Isolation` in a simulation: each task has a simulated process of its own, which dies alone."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ..application.execution.performing import perform
from ..domain.ids import GraphHash
from ..errors import ProcessLost
from ..ports.handlers import Program
from .process import Process
from .threads import SimulatedExecutions

_DIED = None


class SimulatedIsolation:
    """Of one worker. The processes end with it."""

    def __init__(self, programs: Mapping[GraphHash, Program], worker: Process) -> None:
        self._programs = programs
        self._worker = worker

    async def ask(self, task: bytes, tell: Callable[[bytes], Awaitable[None]]) -> bytes:
        """See the port."""
        child = Process(f"{self._worker.name}-apart", self._worker.faults)
        # What is said is heard in the worker's task: a pipe carries it on when the process is dead.
        heard: asyncio.Queue[tuple[bytes, bool] | None] = asyncio.Queue()

        async def say(content: bytes) -> None:
            heard.put_nowait((content, False))

        async def live() -> None:
            heard.put_nowait((await perform(task, self._programs, SimulatedExecutions(child), say), True))

        child.spawn(live(), "task").add_done_callback(lambda _: heard.put_nowait(_DIED))
        try:
            while (frame := await heard.get()) is not None:
                content, is_answer = frame
                if is_answer:
                    return content
                await tell(content)
        finally:
            child.kill()
        raise ProcessLost("the process that it had to itself was killed (simulated)")

    async def close(self) -> None:
        """There is nothing to end: each process ends with its task."""
