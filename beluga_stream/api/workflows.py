"""Workflows that an orchestrator has begun: they are counted and timed up to their end, whoever waits for them.

Each takes a call that waits at its engine. So no more than so many are followed, and what begins beyond them is left
out of the metrics: a workflow may wait for days, and how many do is nothing that metrics may decide.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from ..application.in_process.tally import Tally
from ..bounds import within
from ..errors import CodeMissing, InvalidState, LogUnavailable, ResourceExhausted
from ..ports.spans import Span, Spans
from ..ports.telemetry import Telemetry
from ..ports.workflow_runner import Started, WorkflowRunner

R = TypeVar("R")

MOST_FOLLOWED = 1_000
"""Workflows of one orchestrator that are followed to their end at a time."""

_AGAIN_SECONDS = 5.0
"""After how long a workflow is asked again for its end that stands still, or whose engine does not answer."""


class Following:
    """What the workflows of one orchestrator share. Closing it leaves them to themselves: they are durable."""

    def __init__(self, telemetry: Telemetry, spans: Spans, logger: logging.Logger) -> None:
        self._telemetry = telemetry
        self._spans = spans
        self._logger = logger
        self._said = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.tally = Tally()

    async def executed(self, name: str, runner: WorkflowRunner, start: Callable[[], Awaitable[Started]]) -> Started:
        """Begin a workflow and follow it, unless too many are. Raises what `start` does, and `InvalidState`."""
        self._refuse_if_closed()
        began = time.perf_counter()
        with self.span("execute", name):
            started = await start()
        if len(self._tasks) >= MOST_FOLLOWED:
            self._leave_out(name)
            return started
        self.tally.started()
        self._telemetry.run_started("workflow", name, 0)
        task = asyncio.create_task(self._follow(name, runner, started, began), name=f"beluga-workflow-{name}")
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._over, name))
        return started

    async def bounded(self, call: Awaitable[R], limit: float | None = None) -> R:
        """The answer, within so many seconds. Raises `TimeoutError`, and `InvalidState` when closed."""
        if self._closed:
            asyncio.ensure_future(call).cancel()
            self._refuse_if_closed()
        async with within(limit):
            return await call

    def span(self, call: str, name: str) -> AbstractContextManager[Span]:
        """A span around one call."""
        return self._spans.span(f"workflow.{call}", {"workflow.name": name})

    async def aclose(self) -> None:
        """Follow no more."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise InvalidState("the orchestrator is closed: make another")

    def _leave_out(self, name: str) -> None:
        """Say so once: from then on the metrics are known not to tell all."""
        if self._said:
            return
        self._said = True
        self._logger.warning(
            "%d workflows of this orchestrator go on: %s, and what begins while they do, is missing in its metrics",
            MOST_FOLLOWED,
            name,
            extra={"action": "workflow.unfollowed", "workflow_name": name},
        )

    async def _follow(self, name: str, runner: WorkflowRunner, started: Started, began: float) -> None:
        success = await self._ended_well(runner, started)
        took = time.perf_counter() - began
        self.tally.ended(success=success, seconds=took)
        self._telemetry.run_ended("workflow", name, success=success, seconds=took)

    def _over(self, name: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled():  # perhaps before it began to follow
            self.tally.left()
            self._telemetry.runs_owned("workflow", name, -1)

    @staticmethod
    async def _ended_well(runner: WorkflowRunner, started: Started) -> bool:
        while True:
            try:
                await runner.result(started)
            except (LogUnavailable, ResourceExhausted, CodeMissing):
                await asyncio.sleep(_AGAIN_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it raises, it has no result; whoever waits for it is told
                return False
            else:
                return True
