"""Executions of one run that share threads and resources with other runs: each has its worker and its span."""

import asyncio
import contextlib
import functools
from collections.abc import Mapping, Sequence

from ..domain.definition import EdgeMode
from ..domain.payload import Json
from ..ports.handlers import Handler
from ..ports.spans import Spans
from .apart import Emit
from .context import Context
from .conversion import outcome_sent
from .directly import attempted
from .execution import Executions
from .middleware import Middleware, surrounded
from .verdict import Completed, Failed
from .workers import Admission


class WatchedExecutions:
    """What `LocalEngine` runs handlers by."""

    def __init__(
        self,
        shared: Executions,
        spans: Spans,
        span: str,
        *,
        admission: Admission | None = None,
        parallel: bool = True,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._shared = shared
        self._spans = spans
        self._span = span
        self._admission = admission
        self._alone = None if parallel else asyncio.Lock()
        self._middleware = middleware

    @property
    def stretches(self) -> bool:
        """Whether handlers may share a thread: not with something around each of them."""
        return not self._middleware

    async def run(
        self,
        handler: Handler,
        values: Mapping[str, Json],
        context: Context,
        *,
        timeout_ms: int | None,
        emit: Emit,
    ) -> Completed | Failed:
        """As `Executions.run`, once it is this execution's turn: its timeout begins then.

        What reads a stream takes no worker: it mostly waits, and for one that must not wait for its worker.
        """
        if self._admission is None or any(one.mode is EdgeMode.STREAM for one in handler.parameters):
            return await self._now(handler, values, context, timeout_ms, emit)
        async with self._alone or contextlib.nullcontext(), self._admission.place():
            return await self._now(handler, values, context, timeout_ms, emit)

    async def _now(
        self, handler: Handler, values: Mapping[str, Json], context: Context, timeout_ms: int | None, emit: Emit
    ) -> Completed | Failed:
        async def call(given: Mapping[str, Json]) -> Completed | Failed:
            return await self._shared.run(handler, given, context, timeout_ms=timeout_ms, emit=emit)

        with self._spans.span(self._span, _facts(context)) as span:
            if self._middleware:
                result = await surrounded(self._middleware, handler, values, context, call)
            else:
                result = await call(values)
            if isinstance(result, Failed):
                span.fail(result.failure.message)
            return result

    async def stretch(self, steps: Sequence[tuple[Handler, Context]], value: Json) -> list[Completed | Failed]:
        """Run sync handlers without limits one after another in one thread, each on the output of the one before.

        Gives their outcomes, up to the first that failed. When it is cancelled, no further one begins.
        """
        try:
            return await self._shared.in_thread(functools.partial(self._in_turn, steps, value))
        except asyncio.CancelledError:
            for _, context in steps:
                context.cancelled = True
            raise

    def _in_turn(self, steps: Sequence[tuple[Handler, Context]], value: Json) -> list[Completed | Failed]:
        outcomes: list[Completed | Failed] = []
        for handler, context in steps:
            if context.cancelled:
                break
            with self._spans.span(self._span, _facts(context)) as span:
                result = outcome_sent(handler, attempted(handler, value, context), context.node, context.attempt)
                outcomes.append(result)
                if isinstance(result, Failed):
                    span.fail(result.failure.message)
                    break
            value = result.output
        return outcomes

    async def close(self) -> None:
        """Nothing: what is shared is its owner's."""


def _facts(context: Context) -> dict[str, str | int]:
    return {"node": context.node, "attempt": context.attempt, "run": context.run_id}
