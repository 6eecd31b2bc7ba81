"""Node middleware: stands around each execution of a handler, to look at it, change it, or keep it from running."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ValidationError

from ...bounds import cancels_so_far
from ...domain.payload import Json
from ...errors import ExecutionFailed, InvalidInput
from ...ports.handlers import Handler
from .context import Context
from .conversion import own
from .execution import cancelled, completed
from .judging import first_of, judged
from .verdict import Completed, Failed


@dataclass(slots=True)
class Execution:
    """One attempt of a node, as middleware sees it: where it is, and what it is called with, as JSON by parameter.

    `values` may be changed before the call goes on.
    """

    run_id: str
    graph: str
    node: str
    attempt: int
    values: dict[str, Any]


Proceed: TypeAlias = Callable[[], Awaitable[Any]]
"""Goes on to the next middleware, and in the end to the handler; gives its output as JSON. It may be called once."""

Middleware: TypeAlias = Callable[[Execution, Proceed], Awaitable[Any]]
"""`async def timing(execution, proceed)`: what it returns is the output, what it raises is the node's failure."""


class NodeFailed(ExecutionFailed):
    """What `Proceed` raises for a handler that failed: `code` is the failure's. Let it pass, or give an output."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.failure.message, node=failed.failure.node, attempt=failed.failure.attempt)
        self.code = failed.failure.code
        self.retryable = failed.retryable
        self.failed = failed


async def surrounded(
    middleware: Sequence[Middleware],
    handler: Handler,
    values: Mapping[str, Json],
    context: Context,
    call: Callable[[Mapping[str, Json]], Awaitable[Completed | Failed]],
) -> Completed | Failed:
    """The outcome of a call with middleware around it, the first outermost. Raises nothing but `CancelledError`."""
    execution = Execution(context.run_id, context.graph, context.node, context.attempt, dict(values))
    found: Completed | None = None
    handed: Json = None

    async def innermost() -> Any:
        nonlocal found, handed
        outcome = await call(execution.values)
        if isinstance(outcome, Failed):
            raise NodeFailed(outcome)
        found, handed = outcome, own(outcome.output)  # which it may change in place
        return handed

    proceed: Proceed = innermost
    for one in reversed(middleware):
        proceed = _around(one, execution, proceed)
    try:
        output = await proceed()
        is_unchanged = found is not None and output is handed and output == found.output
        return found if found is not None and is_unchanged else _given(handler, output)
    except NodeFailed as error:
        return error.failed
    except SystemExit as error:
        left = ExecutionFailed(f"it called sys.exit({error.code!r})")
        return Failed(*judged(handler, left, context.node, context.attempt), error=left)
    except asyncio.CancelledError as error:
        if cancels_so_far():
            raise
        return cancelled(handler, error, context)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - middleware is user code: what it raises is the node's failure
        return Failed(*judged(handler, error, context.node, context.attempt), error=error)


def _around(middleware: Middleware, execution: Execution, proceed: Proceed) -> Proceed:
    async def around() -> Any:
        return await middleware(execution, proceed)

    return around


def _given(handler: Handler, output: Any) -> Completed:
    """The outcome for an output that middleware gives: checked as the handler's own."""
    if not handler.streams:
        return completed(handler, _typed(handler, output))
    if not isinstance(output, list | tuple):
        raise InvalidInput(f"middleware gave a {type(output).__name__} for a stream: it must give a list of its chunks")
    chunks = [completed(handler, _typed(handler, chunk)).output for chunk in output]
    return Completed(chunks, chunks=len(chunks))


def _typed(handler: Handler, value: Any) -> Any:
    try:
        return handler.output.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"middleware gave what the node's type forbids: {first_of(error)}") from error
