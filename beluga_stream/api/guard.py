"""Putting something around a handler of any kind, so that it stays the kind of function that it is."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from typing import Any, Literal, Protocol, TypeVar, cast

from ..application.execution.threads import is_given_up
from ..errors import InvalidConfig
from .signature import name_of

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

FunctionKind = Literal["async", "async_stream", "sync", "sync_stream"]

_OF_ONE_PROCESS = "__beluga_of_one_process__"
_BLOCKS = "__beluga_blocks__"


class Guard(Protocol):
    """What stands around each call: it may refuse or delay it, and sees how it ends."""

    def around(self) -> AbstractContextManager[None]:
        """Of a function that blocks, in its thread."""
        raise NotImplementedError

    def around_async(self) -> AbstractAsyncContextManager[None]:
        """Of an async function, in its event loop."""
        raise NotImplementedError


def kind_of(function: object, what: str) -> FunctionKind:
    """Which kind of function it is. Raises `InvalidConfig` for what is none."""
    if not (inspect.isroutine(function) or isinstance(function, functools.partial)):
        raise InvalidConfig(f"{what} is for functions: it cannot be put around a {type(function).__name__}")
    if inspect.isasyncgenfunction(function):
        return "async_stream"
    if inspect.iscoroutinefunction(function):
        return "async"
    return "sync_stream" if inspect.isgeneratorfunction(function) else "sync"


def guarded(function: F, guard: Guard, what: str) -> F:
    """The function with a guard around each call; of a streaming one, until its last chunk."""
    kind = kind_of(function, what)
    wrapped: Any
    if kind == "async":

        @functools.wraps(function)
        async def call_async(*given: Any, **named: Any) -> Any:
            async with guard.around_async():
                return await function(*given, **named)

        wrapped = call_async
    elif kind == "async_stream":

        @functools.wraps(function)
        async def stream_async(*given: Any, **named: Any) -> AsyncIterator[Any]:
            async with guard.around_async(), aclosing(function(*given, **named)) as chunks:
                async for chunk in chunks:
                    yield chunk

        wrapped = stream_async
    elif kind == "sync_stream":

        @functools.wraps(function)
        def stream(*given: Any, **named: Any) -> Iterator[Any]:
            with guard.around():
                yield from function(*given, **named)

        wrapped = stream
    else:

        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            with guard.around():
                result = function(*given, **named)
            return whole(result, function, what)

        wrapped = call
    return cast("F", wrapped)


def whole(result: R, function: object, what: str) -> R:
    """What a plain function gave. Raises `InvalidConfig` where that is yet to run: nothing would guard it then."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result):
            result.close()
        raise InvalidConfig(
            f"{what} around {name_of(function) or 'a function'} guards nothing: it is a plain function that gives a "
            f"{type(result).__name__}, which runs later; put {what} below the decorator that stands between them, "
            f"right above the async function or the generator"
        )
    return result


def stop_if_given_up() -> None:
    """For what waited in a thread: raises what an async function hears where it waits, if its call was given up."""
    if is_given_up():
        raise asyncio.CancelledError


def marked(function: F, what: str, *, of_one_process: bool = False, blocks: bool = False) -> F:
    """Note on a guarded function what it cannot do: keep its promise over processes, or be called in an event loop."""
    for attribute, applies in ((_OF_ONE_PROCESS, of_one_process), (_BLOCKS, blocks)):
        if applies:
            setattr(function, attribute, (*getattr(function, attribute, ()), what))
    return function


def of_one_process(function: object) -> tuple[str, ...]:
    """The guards of a function whose state is one process's."""
    return cast("tuple[str, ...]", getattr(function, _OF_ONE_PROCESS, ()))


def that_block(function: object) -> tuple[str, ...]:
    """The guards of a function that may hold up its thread."""
    return cast("tuple[str, ...]", getattr(function, _BLOCKS, ()))
