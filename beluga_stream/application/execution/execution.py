"""One call of a user's handler: check what goes in, run it where it belongs, check what comes out.

The worker and the local engine both run handlers through this, so that a value which works here
works there. User code is judged, never trusted: whatever it raises becomes a `Failure`.
"""

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from ...bounds import cancels_so_far
from ...domain.definition import EdgeMode
from ...domain.payload import Json
from ...errors import ExecutionFailed, InvalidInput, NotSerializable, ProcessLost, TimedOut
from ...ports.cache import Caching
from ...ports.calls import Calls, Isolation
from ...ports.handlers import LEFT_OUT, Handler, Variants
from . import node_threads
from .apart import Address, Emit, run_apart
from .caching import cached
from .context import Context, current, emitted_by
from .judging import first_of, judged, said
from .leaving import tell_left
from .resources import ResourceFactory, Resources
from .streams import Live, ReadyStream
from .threads import Threads
from .verdict import Completed, Failed

R = TypeVar("R")

_END = object()
_STOP_SECONDS = 5.0
"""How long a handler may take to end once it is told to."""


class Executions:
    """Runs handlers. Owns the threads and processes that they run in, and the resources that they share.

    `open_resource` gives the context manager of a resource type; each is entered when first needed, in a task
    of its own, and left by `close`. Without `processes`, handlers meant for one run in a thread; without
    `isolation`, those meant to run apart run here. A KeyboardInterrupt out of an async handler is taken for Ctrl-C and
    raised, unless it is `handlers_own`: where Ctrl-C comes to the loop as a signal, and never as an exception.
    """

    def __init__(
        self,
        *,
        threads: int = 16,
        processes: Calls | None = None,
        isolation: Isolation | None = None,
        open_resource: ResourceFactory | None = None,
        interrupts: Literal["ctrl_c", "handlers_own"] = "ctrl_c",
    ) -> None:
        self._interrupts = interrupts
        self._threads = Threads(threads)
        self._processes = processes
        self._isolation = isolation
        self._resources = Resources(open_resource)
        self._stopping: set[asyncio.Task[Any]] = set()

    @property
    def isolates(self) -> bool:
        """Whether some run in a process of their own."""
        return self._isolation is not None

    async def close(self) -> None:
        """Leave every resource, and let threads and processes end. Raises what a resource raises on leaving."""
        async with AsyncExitStack() as closing:  # from the last to the first, whatever one of them raises
            if self._isolation is not None:
                closing.push_async_callback(self._isolation.close)
            if self._processes is not None:
                closing.push_async_callback(self._processes.close)
            closing.push_async_callback(self._threads.close)
            closing.push_async_callback(self._resources.close)

    async def run(
        self,
        handler: Handler,
        values: Mapping[str, Json],
        context: Context,
        *,
        timeout_ms: int | None,
        emit: Emit,
        apart: Address | None = None,
    ) -> Completed | Failed:
        """Call the handler once; with an address, in a process of its own. Raises nothing but `CancelledError`."""
        token = current.set(context)
        threads = node_threads.current.set(self._threads)
        try:
            if timeout_ms is None:
                return await self._attempt(handler, values, context, emit, apart)
            return await self._bounded(handler, values, context, timeout_ms, emit, apart)
        except asyncio.CancelledError:
            context.cancelled = True
            raise
        finally:
            node_threads.current.reset(threads)
            current.reset(token)

    async def in_thread(self, function: Callable[[], R]) -> R:
        """Call it in a thread, in the context of the caller. Cancelling gives the call up, and does not end it."""
        return await self._threads.call(functools.partial(contextvars.copy_context().run, function))

    async def _bounded(
        self,
        handler: Handler,
        values: Mapping[str, Json],
        context: Context,
        timeout_ms: int,
        emit: Emit,
        apart: Address | None,
    ) -> Completed | Failed:
        """In a task of its own, so that a handler that ignores its cancellation can be left behind."""
        over = False

        async def emit_in_time(chunk: Json) -> None:
            if over:
                raise TimedOut("the node has timed out: nobody takes its chunks")
            await emit(chunk)

        task = asyncio.create_task(self._attempt(handler, values, context, emit_in_time, apart))
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_ms / 1000)
            if done:
                try:
                    return task.result()
                except asyncio.CancelledError as error:
                    return cancelled(handler, error, context)
        finally:
            over = True
            if not task.done():
                await self._stop(task, context)
        late = TimedOut(f"it did not end within {timeout_ms / 1000:g} s")
        return failed(handler, late, context)

    async def _stop(self, task: "asyncio.Task[Any]", context: Context) -> None:
        context.cancelled = True
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        task.cancel()
        await asyncio.wait({task}, timeout=_STOP_SECONDS)
        if task.done():
            return
        tell_left(context.node, context.run_id)

    async def _attempt(
        self, handler: Handler, values: Mapping[str, Json], context: Context, emit: Emit, apart: Address | None
    ) -> Completed | Failed:
        try:
            if apart is not None and self._isolation is not None and handler.executor != "process":
                # Another process cannot read here what comes: it gets it when it is all there.
                return await run_apart(self._isolation, apart, await _whole(values), context, emit)
            arguments = await self._arguments(handler, values, context)
            if handler.streams:
                return await self._stream(handler, arguments, emit, emitted_by(context))
            if handler.cache is not None:
                return await self._cached(handler, handler.cache, values, arguments, context)
            return completed(handler, await self._call(handler, arguments, context))
        except asyncio.CancelledError as error:
            if cancels_so_far():
                raise
            return cancelled(handler, error, context)
        except SystemExit as error:
            return failed(handler, ExecutionFailed(f"it called sys.exit({error.code!r})"), context)
        except KeyboardInterrupt as error:
            if self._interrupts == "ctrl_c":
                raise
            return failed(handler, _interrupted(error), context)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything; it becomes the node's failure
            return failed(handler, error, context)

    async def _arguments(self, handler: Handler, values: Mapping[str, Json], context: Context) -> list[Any]:
        arguments: list[Any] = []
        for parameter in handler.parameters:
            if parameter.name not in values:
                arguments.append(LEFT_OUT if parameter.has_default else None)
                continue
            value = values[parameter.name]
            if isinstance(value, Live) and parameter.mode is not EdgeMode.STREAM:
                value = await value.whole()
            elif isinstance(value, Live):
                arguments.append(value.typed(parameter.adapter, f"{parameter.name!r} of {context.node}"))
                continue
            try:
                if parameter.mode is EdgeMode.STREAM:
                    arguments.append(ReadyStream([parameter.adapter.validate_python(chunk) for chunk in value]))
                else:
                    arguments.append(parameter.adapter.validate_python(value))
            except ValidationError as error:
                raise InvalidInput(
                    f"the value for {parameter.name!r} does not fit its type: {first_of(error)}"
                ) from error
        return arguments

    async def _call(self, handler: Handler, arguments: list[Any], context: Context) -> Any:
        injected = {name: await self._resources.get(kind) for name, kind in handler.resources.items()}
        if handler.executor == "async":
            return await handler.call(*arguments, **injected)
        if handler.executor == "process" and self._processes is not None:
            facts = replace(context, _beat=None)
            return await self._processes.call(functools.partial(_in_context, facts, handler.call, tuple(arguments)))
        given = await self.in_thread(functools.partial(handler.call, *arguments, **injected))
        return await given if inspect.isawaitable(given) else given

    async def _cached(
        self,
        handler: Handler,
        caching: Caching,
        values: Mapping[str, Json],
        arguments: list[Any],
        context: Context,
    ) -> Completed:
        async def compute() -> Completed:
            return completed(handler, await self._call(handler, arguments, context))

        def again(output: Json) -> Completed:
            return completed(handler, handler.output.validate_python(output))

        store = await self._resources.get(caching.store) if isinstance(caching.store, type) else caching.store
        return await cached(caching, store, await _whole(values), compute, again)

    async def _stream(self, handler: Handler, arguments: list[Any], emit: Emit, emitted: Sequence[Json]) -> Completed:
        injected = {name: await self._resources.get(kind) for name, kind in handler.resources.items()}
        chunks: list[Json] = list(emitted)
        called = handler.call(*arguments, **injected)
        source = _Steps(called, self._threads) if handler.executor == "thread" else called
        try:
            async for chunk in source:
                json = _dumped(handler, chunk, "yielded")
                chunks.append(json)
                await emit(json)
        finally:
            # A handler that is stopped in the middle cleans up now, and not when it is collected.
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        return Completed(chunks, _branches(handler, chunks), chunks=len(chunks))


class _Steps:
    """A generator whose every step runs in a thread."""

    def __init__(self, source: Iterator[Any], threads: Threads) -> None:
        self._source = source
        self._threads = threads
        self._inside = contextvars.copy_context()
        self._stepping = threading.Lock()
        self._over = threading.Event()

    def __aiter__(self) -> "_Steps":
        return self

    async def __anext__(self) -> Any:
        chunk = await self._threads.call(functools.partial(self._inside.run, self._step))
        if chunk is _END:
            raise StopAsyncIteration
        return chunk

    def _step(self) -> Any:
        with self._stepping:
            if self._over.is_set():
                return _END
            try:
                return next(self._source, _END)
            finally:
                if self._over.is_set():
                    self._close()

    async def aclose(self) -> None:
        """Let it clean up, in a thread: at once, or when the step that is under way ends."""
        self._over.set()
        if not self._stepping.locked():
            await self._threads.call(functools.partial(self._inside.copy().run, self._close))

    def _close(self) -> None:
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


async def _whole(values: Mapping[str, Json]) -> dict[str, Json]:
    return {name: await value.whole() if isinstance(value, Live) else value for name, value in values.items()}


def _in_context(context: Context, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What another process calls: there, too, `context()` tells whose call it is."""
    current.set(context)
    return call(*arguments)


def completed(handler: Handler, value: Any) -> Completed:
    """The outcome of a handler that gave this. Raises `InvalidInput` and `NotSerializable` for a wrong value."""
    json = _dumped(handler, value, "returned")
    done = True
    if handler.until is not None:
        done = bool(handler.until(handler.output.validate_python(json)))
    return Completed(json, _branches(handler, value), done)


def _branches(handler: Handler, value: Any) -> tuple[int, ...]:
    return tuple(number for number, holds in handler.branches if holds(value))


def _dumped(handler: Handler, value: Any, verb: str) -> Json:
    try:
        checked = handler.output.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"it {verb} what its type forbids: {first_of(error)}{_unfinished(value)}") from error
    try:
        json = handler.output.dump_python(checked, mode="json", warnings="error")
    except Exception as error:
        raise NotSerializable(f"it {verb} what cannot become JSON: {said(error)}{_unfinished(value)}") from error
    if handler.variants is not None:
        _check_variant(handler.variants, checked, json, verb)
    return json


def _unfinished(value: Any) -> str:
    """What is to be done about a value that has yet to run; nothing for another."""
    if inspect.iscoroutine(value):
        value.close()  # it would warn, in another place, that nobody has awaited it
    if inspect.isawaitable(value):
        return ", and it is yet to be awaited: is an `await` missing?"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return ", and it is a generator: yield its items, or return a list of them"
    return ""


def _check_variant(variants: Variants, value: Any, json: Json, verb: str) -> None:
    try:
        found = variants.adapter.validate_python(json)
    except ValidationError:
        return  # no model is mistaken for another one: whoever reads it tells what is wrong
    if any(isinstance(value, model) is not isinstance(found, model) for model in variants.models):
        name, other = type(value).__name__, type(found).__name__
        raise NotSerializable(
            f"it {verb} a {name}, whose JSON is read as a {other}: give both a field that tells them apart, "
            f"as `kind: Literal[{name.lower()!r}] = {name.lower()!r}` in {name}"
        )


def _interrupted(error: KeyboardInterrupt) -> RuntimeError:
    """As a call in a thread has it."""
    raised = RuntimeError("the handler raised KeyboardInterrupt")
    raised.__cause__ = error
    return raised


def cancelled(handler: Handler, error: asyncio.CancelledError, context: Context) -> Failed:
    """Nobody stopped this execution: the handler awaited something that was cancelled, or cancelled its own task."""
    return failed(handler, RuntimeError(f"what it waited for was cancelled {said(error)}".rstrip()), context)


def failed(handler: Handler, error: BaseException, context: Context) -> Failed:
    failure, retryable = judged(handler, error, context.node, context.attempt)
    return Failed(failure, retryable, crashed=isinstance(error, ProcessLost), error=error)
