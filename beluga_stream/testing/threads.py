"""The threads of a simulated process: what is meant for one runs in the loop, and takes its time all the same."""

import asyncio
from collections.abc import Callable

from ..api.resource import open_resource
from ..application.execution.execution import Executions
from ..application.execution.threads import Threads, WorkerThread
from ..ports.calls import Isolation
from .process import Process

_SIZES = (1, 4, 16)
_STUCK = 0.1
_STUCK_SECONDS = 30.0
_SECONDS = 0.2


class SimulatedExecutions(Executions):
    """The executions of one simulated process."""

    def __init__(self, process: Process, isolation: Isolation | None = None) -> None:
        super().__init__(isolation=isolation, open_resource=open_resource)
        self._threads = SimulatedThreads(process)


class SimulatedThreads(Threads):
    """All of it is the engine's, but for the threads themselves."""

    def __init__(self, process: Process) -> None:
        chance = process.faults.random
        super().__init__(chance.choice(_SIZES), lost_at_most=chance.choice((0, 1, None)))
        self._process = process

    def _new(self) -> WorkerThread:
        return _Thread(self._process)


class _Thread(WorkerThread):
    """Calls one after the other, each done at once, at a moment that the seed decides; some seem to be stuck."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def give(self, step: Callable[[], None] | None) -> None:
        if step is None:
            return
        chance = self._process.faults.random
        stuck = not self._process.faults.calm and chance.random() < _STUCK
        seconds = chance.uniform(0, _STUCK_SECONDS if stuck else _SECONDS)
        asyncio.get_running_loop().call_later(seconds, self._call, step)

    def _call(self, step: Callable[[], None]) -> None:
        if self._process.alive:
            step()
