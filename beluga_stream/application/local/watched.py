"""Executions of one run that share threads and resources with other runs: each has its worker and its span."""

import asyncio
import contextlib
import contextvars
import functools
import types
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, TypeVar

from ...domain.definition import EdgeMode
from ...domain.payload import Json
from ...ports.handlers import Handler
from ...ports.spans import Spans
from ..execution.apart import Emit
from ..execution.context import Context
from ..execution.conversion import outcome_sent, own
from ..execution.execution import Executions
from ..execution.middleware import Middleware, surrounded
from ..execution.spanned import told_when_stopped
from ..execution.verdict import Completed, Failed
from .directly import attempted
from .workers import Admission

R = TypeVar("R")


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

        with self._spans.span(self._span, _facts(context)) as span, told_when_stopped(span):
            if self._middleware:
                result = await surrounded(self._middleware, handler, values, context, call)
            else:
                result = await call(values)
            if isinstance(result, Failed):
                span.fail(result.failure.message)
            return result

    async def stretch(self, steps: Sequence[tuple[Handler, Context]], value: Json) -> list[Completed | Failed]:
        """Run sync handlers without limits one after another in one thread, each on the output of the one before.

        Gives their outcomes, up to the first that failed, or that gave something to await: this is awaited here, and
        what follows is another stretch. When it is cancelled, no further one begins.
        """
        inside = contextvars.copy_context()
        begin = functools.partial(self._in_turn, steps, value)
        try:
            found = await self._shared.in_thread(functools.partial(inside.run, _begun, begin))
            if isinstance(found, list):
                return found
            return await asyncio.get_running_loop().create_task(found, context=inside)
        except asyncio.CancelledError:
            for _, context in steps:
                context.cancelled = True
            raise

    async def _in_turn(self, steps: Sequence[tuple[Handler, Context]], value: Json) -> list[Completed | Failed]:
        outcomes: list[Completed | Failed] = []
        for handler, context in steps:
            if _is_given_up(context):
                break
            with self._spans.span(self._span, _facts(context)) as span, told_when_stopped(span):
                # In a context of its own, as each call in a thread: what a step sets is no other's.
                result = contextvars.copy_context().run(attempted, handler, own(value), context)
                if is_left := isinstance(result, Handler):
                    if _is_given_up(context):
                        break
                    await _out_of_the_thread()
                    result = await self._shared.run(result, {}, context, timeout_ms=None, emit=_nobody)
                result = outcome_sent(handler, result, context.node, context.attempt)
                outcomes.append(result)
                if isinstance(result, Failed):
                    span.fail(result.failure.message)
                    break
            if is_left:
                break
            value = result.output
        return outcomes

    async def close(self) -> None:
        """Nothing: what is shared is its owner's."""


def _facts(context: Context) -> dict[str, str | int]:
    return {"node": context.node, "attempt": context.attempt, "run": context.run_id}


def _is_given_up(context: Context) -> bool:
    """Whether nobody waits for it any more: it may change at any time, since this is asked in a thread."""
    return context.cancelled


def _begun(begin: Callable[[], Coroutine[Any, Any, R]]) -> R | Coroutine[Any, Any, R]:
    """Run it as far as it gets in this thread: what it gives, or itself when the event loop must go on with it."""
    turn = begin()
    try:
        turn.send(None)
    except StopIteration as over:
        return over.value  # type: ignore[no-any-return]  # it is typed as anything
    return turn


@types.coroutine
def _out_of_the_thread() -> Generator[None, None, None]:
    """Where a coroutine that a thread has begun stops, for a task to go on with it in the same context."""
    yield


async def _nobody(chunk: Json) -> None:
    """These handlers do not stream."""
