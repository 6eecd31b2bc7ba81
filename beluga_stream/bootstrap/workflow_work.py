"""A chain or graph whose every call is a workflow: how it begins, and how it ends when nobody waits for it."""

import asyncio
import logging
import secrets
from contextlib import suppress
from typing import Any

from ..api.provider import Signals
from ..api.signal import dumped
from ..application.clients.signalling import check_awaited
from ..bounds import within
from ..errors import BelugaError, NotFound
from ..ports.handlers import Program
from ..ports.workflow_runner import Started, WorkflowRunner

_CANCEL_SECONDS = 5.0

log = logging.getLogger("beluga_stream.orchestrator")


class WorkflowWork:
    """All of a provider's runner but how it streams."""

    def __init__(self, program: Program, workflow: WorkflowRunner) -> None:
        self._program = program
        self._workflow = workflow

    async def invoke(self, value: Any, /, *, signals: Signals) -> Any:
        started = await self._started(value, signals)
        try:
            return await self._result(started)
        except asyncio.CancelledError:
            await self._cancel(started)
            raise

    async def _result(self, started: Started) -> Any:
        return await self._workflow.result(started)

    async def check(self) -> None:
        await self._workflow.check()

    async def _started(
        self, value: Any, signals: Signals, workflow_id: str | None = None, *, workflow: WorkflowRunner | None = None
    ) -> Started:
        """A workflow that has begun. A caller that leaves before that is known leaves none behind."""
        begun = self._start(workflow or self._workflow, value, signals, workflow_id or secrets.token_hex(16))
        starting = asyncio.ensure_future(begun)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting}, timeout=_CANCEL_SECONDS)
            if not starting.done():
                starting.cancel()
            elif starting.exception() is None:
                await self._cancel(starting.result())
            raise

    async def _start(self, workflow: WorkflowRunner, value: Any, signals: Signals, workflow_id: str) -> Started:
        contents = dumped(signals)
        check_awaited(self._program, contents)
        started = await workflow.start(value, workflow_id)
        try:
            for name, content in contents.items():
                with suppress(NotFound):  # it has ended without it, and says how
                    await workflow.signal(started, name, content)
        except BelugaError:
            await self._cancel(started)
            raise
        return started

    async def _cancel(self, started: Started) -> None:
        """Nobody waits for it any more. Whoever left is not kept for long."""
        try:
            async with within(_CANCEL_SECONDS):
                await self._workflow.cancel(started, "whoever started it has left")
        except NotFound:
            pass  # it has ended meanwhile
        except (TimeoutError, BelugaError) as error:
            log.warning("workflow %s may go on though nobody waits for it: %s", started.workflow_id, error)
