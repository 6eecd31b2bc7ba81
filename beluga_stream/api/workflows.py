"""Workflows that an orchestrator has begun: each is counted and timed up to its end, whoever waits for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from ..application.tally import Tally
from ..bounds import within
from ..errors import CodeMissing, InvalidState, LogUnavailable, ResourceExhausted
from ..ports.spans import Span, Spans
from ..ports.telemetry import Telemetry
from ..ports.workflow_runner import Started, WorkflowRunner

R = TypeVar("R")

MOST_FOLLOWED = 1_000
"""Workflows of one orchestrator that are followed to their end at a time; then it begins no more."""

_AGAIN_SECONDS = 5.0
"""After how long a workflow is asked again for its end that stands still, or whose engine does not answer."""


class Following:
    """What the workflows of one orchestrator share. Closing it leaves them to themselves: they are durable."""

    def __init__(self, telemetry: Telemetry, spans: Spans) -> None:
        self._telemetry = telemetry
        self._spans = spans
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.tally = Tally()

    async def executed(self, name: str, runner: WorkflowRunner, start: Callable[[], Awaitable[Started]]) -> Started:
        """Begin a workflow and follow it. Raises what `start` does, `InvalidState` and `ResourceExhausted`."""
        self._refuse_if_closed()
        if len(self._tasks) >= MOST_FOLLOWED:
            raise ResourceExhausted(
                f"{MOST_FOLLOWED} workflows of this orchestrator go on: wait for some, or use another orchestrator"
            )
        began = time.perf_counter()
        with self.span("execute", name):
            started = await start()
        self.tally.started()
        self._telemetry.run_started("workflow", name, 0)
        task = asyncio.create_task(self._follow(name, runner, started, began), name=f"beluga-workflow-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
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

    async def _follow(self, name: str, runner: WorkflowRunner, started: Started, began: float) -> None:
        success = False
        try:
            success = await self._ended_well(runner, started)
        except asyncio.CancelledError:
            self.tally.left()
            self._telemetry.runs_owned("workflow", name, -1)
            raise
        took = time.perf_counter() - began
        self.tally.ended(success=success, seconds=took)
        self._telemetry.run_ended("workflow", name, success=success, seconds=took)

    @staticmethod
    async def _ended_well(runner: WorkflowRunner, started: Started) -> bool:
        while True:
            try:
                await runner.result(started)
            except (LogUnavailable, ResourceExhausted, CodeMissing):
                await asyncio.sleep(_AGAIN_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it raises, it has no result; who waits for it is told
                return False
            else:
                return True
