"""One call of a user's handler: check what goes in, run it where it belongs, check what comes out.

The worker and the local engine both run handlers through this, so that a value which works here
works there. User code is judged, never trusted: whatever it raises becomes a `Failure`.
"""

import asyncio
import contextvars
import functools
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from ..domain.definition import EdgeMode
from ..domain.events import Failure
from ..domain.payload import Json
from ..errors import BelugaError, ExecutionFailed, InvalidInput, NotSerializable, TimedOut
from ..ports.handlers import Handler
from .context import Context, current

Emit = Callable[[Json], Awaitable[None]]
ResourceFactory = Callable[[type], AbstractAsyncContextManager[Any]]

_END = object()


@dataclass(frozen=True, slots=True)
class Completed:
    """What a handler gave: its output as JSON, the branches that hold, and whether a loop is done."""

    output: Json
    branches: tuple[int, ...] = ()
    done: bool = True
    chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Why it gave nothing, and whether another attempt may help."""

    failure: Failure
    retryable: bool


class ReadyStream:
    """A stream whose chunks are all there."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[Any]:
        for chunk in self._chunks:
            yield chunk


class Executions:
    """Runs handlers. Owns the thread pool and the resources that handlers share.

    `open_resource` gives the context manager of a resource type; each is entered once, when first
    needed, and left by `close`.
    """

    def __init__(self, *, threads: int = 16, open_resource: ResourceFactory | None = None) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._open_resource = open_resource
        self._resources: dict[type, Any] = {}
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Leave every resource, and let the threads end."""
        await self._stack.aclose()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(
        self,
        handler: Handler,
        values: Mapping[str, Json],
        context: Context,
        *,
        timeout_ms: int | None,
        emit: Emit,
    ) -> Completed | Failed:
        """Call the handler once. Raises nothing but `CancelledError`."""
        token = current.set(context)
        limit = asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000)
        try:
            async with limit:
                arguments = await self._arguments(handler, values, context)
                if handler.streams:
                    return await self._stream(handler, arguments, emit)
                value = await self._call(handler, arguments)
                return _completed(handler, value)
        except TimeoutError as error:
            if limit.expired():
                late = TimedOut(f"{context.node} did not end within {(timeout_ms or 0) / 1000:g} s")
                return _judged(handler, late, context)
            return _judged(handler, error, context)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this execution: the handler awaited something that was cancelled.
            return _judged(
                handler, ExecutionFailed(f"what it waited for was cancelled {error}".rstrip()), context
            )
        except SystemExit as error:
            return _judged(handler, ExecutionFailed(f"it called sys.exit({error.code!r})"), context)
        except Exception as error:  # noqa: BLE001 - user code may raise anything; it becomes the node's failure
            return _judged(handler, error, context)
        finally:
            current.reset(token)

    async def _arguments(self, handler: Handler, values: Mapping[str, Json], context: Context) -> list[Any]:
        arguments: list[Any] = []
        for parameter in handler.parameters:
            if parameter.name not in values:
                arguments.append(None)
                continue
            value = values[parameter.name]
            try:
                if parameter.mode is EdgeMode.STREAM:
                    arguments.append(
                        ReadyStream([parameter.adapter.validate_python(chunk) for chunk in value])
                    )
                else:
                    arguments.append(parameter.adapter.validate_python(value))
            except ValidationError as error:
                raise InvalidInput(
                    f"{context.node}: the value for {parameter.name!r} does not fit its type: {_first(error)}"
                ) from error
        return arguments

    async def _call(self, handler: Handler, arguments: list[Any]) -> Any:
        injected = {name: await self._resource(kind) for name, kind in handler.resources.items()}
        if handler.executor == "async":
            return await handler.call(*arguments, **injected)
        call = functools.partial(contextvars.copy_context().run, _called, handler.call, arguments, injected)
        return await asyncio.get_running_loop().run_in_executor(self._executor(), call)

    async def _stream(self, handler: Handler, arguments: list[Any], emit: Emit) -> Completed:
        injected = {name: await self._resource(kind) for name, kind in handler.resources.items()}
        chunks: list[Json] = []
        called = handler.call(*arguments, **injected)
        source = self._in_thread(called) if handler.executor == "thread" else called
        try:
            async for chunk in source:
                json = _dumped(handler.output, chunk, "yielded")
                chunks.append(json)
                await emit(json)
        finally:
            # A handler that is stopped in the middle cleans up now, and not when it is collected.
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        return Completed(chunks, _branches(handler, chunks), chunks=len(chunks))

    async def _in_thread(self, source: Iterator[Any]) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        inside = contextvars.copy_context()
        try:
            while True:
                chunk = await loop.run_in_executor(
                    self._executor(), inside.run, functools.partial(next, source, _END)
                )
                if chunk is _END:
                    return
                yield chunk
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def _executor(self) -> Executor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="beluga-node")
        return self._pool

    async def _resource(self, kind: type) -> Any:
        async with self._opening:
            if kind not in self._resources:
                if self._open_resource is None:
                    raise InvalidInput(f"no resource gives a {kind.__name__}: declare one with @resource")
                self._resources[kind] = await self._stack.enter_async_context(self._open_resource(kind))
            return self._resources[kind]


def _called(call: Callable[..., Any], arguments: list[Any], injected: Mapping[str, Any]) -> Any:
    """Call in a thread. A future cannot carry StopIteration: it would never be done."""
    try:
        return call(*arguments, **injected)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error


def _completed(handler: Handler, value: Any) -> Completed:
    json = _dumped(handler.output, value, "returned")
    done = True
    if handler.until is not None:
        done = bool(handler.until(handler.output.validate_python(json)))
    return Completed(json, _branches(handler, value), done)


def _branches(handler: Handler, value: Any) -> tuple[int, ...]:
    return tuple(number for number, holds in handler.branches if holds(value))


def _dumped(adapter: TypeAdapter[Any], value: Any, verb: str) -> Json:
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json", warnings="error")
    except ValidationError as error:
        raise InvalidInput(f"it {verb} what its type forbids: {_first(error)}") from error
    except PydanticSerializationError as error:
        raise NotSerializable(f"it {verb} what cannot become JSON: {error}") from error


def _judged(handler: Handler, error: Exception, context: Context) -> Failed:
    """The default rule: everything is worth another attempt but type errors, invalid values and marked errors."""
    if isinstance(error, BelugaError):
        failure = Failure(error.code, f"{context.node}: {error}", context.node, context.attempt)
        return Failed(failure, _may_help(handler, error, default=error.retryable))
    origin = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({origin[0].name}, line {origin[0].lineno})" if origin else ""
    message = f"{context.node} raised {type(error).__name__}: {error}{place}"
    failure = Failure("execution_failed", message, context.node, context.attempt)
    final = isinstance(error, TypeError | ValidationError) or getattr(error, "retryable", True) is False
    return Failed(failure, _may_help(handler, error, default=not final))


def _may_help(handler: Handler, error: Exception, *, default: bool) -> bool:
    return default if handler.retry_on is None else isinstance(error, handler.retry_on)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
