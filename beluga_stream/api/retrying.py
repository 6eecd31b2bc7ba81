"""`Retry` as a decorator: the attempts of a function by itself, where no engine makes them."""

import asyncio
import functools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar, cast

from ..application.execution.judging import asked_pause_ms, may_help, said
from ..application.execution.threads import is_given_up
from ..domain.retry import RetryPolicy, delay_ms
from ..errors import MaxRetriesExceeded
from .guard import kind_of, marked, whole
from .signature import name_of

F = TypeVar("F", bound=Callable[..., Any])


def retrying(function: F, policy: RetryPolicy, on: tuple[type[Exception], ...] | None) -> F:
    """The function, tried again by this policy. A streaming one is not, once its first chunk is out."""

    def begin() -> "_Attempts":
        return _Attempts(name_of(function), policy, on)

    by_kind = {"async": _call_async, "async_stream": _stream_async, "sync": _call, "sync_stream": _stream}
    wrapped = by_kind[kind_of(function, "Retry")](function, begin)
    return marked(cast("F", functools.wraps(function)(wrapped)), "Retry", blocks=True)


def _call_async(function: Callable[..., Any], begin: "_Begin") -> Callable[..., Any]:
    async def call(*given: Any, **named: Any) -> Any:
        attempts = begin()
        while True:
            try:
                return await function(*given, **named)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                pause = attempts.pause_after(error)
            await asyncio.sleep(pause)

    return call


def _stream_async(function: Callable[..., Any], begin: "_Begin") -> Callable[..., Any]:
    async def stream(*given: Any, **named: Any) -> AsyncIterator[Any]:
        attempts = begin()
        while not attempts.over:
            pause = 0.0
            try:
                async with aclosing(function(*given, **named)) as chunks:
                    async for chunk in chunks:
                        attempts.begun = True
                        yield chunk
                attempts.over = True
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                pause = attempts.pause_after(error)
            if pause:
                await asyncio.sleep(pause)

    return stream


def _call(function: Callable[..., Any], begin: "_Begin") -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        attempts = begin()
        while True:
            try:
                result = function(*given, **named)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                attempts.pause(error)
            else:
                return whole(result, function, "Retry")

    return call


def _stream(function: Callable[..., Any], begin: "_Begin") -> Callable[..., Any]:
    def stream(*given: Any, **named: Any) -> Iterator[Any]:
        attempts = begin()
        while not attempts.over:
            try:
                for chunk in function(*given, **named):
                    attempts.begun = True
                    yield chunk
                attempts.over = True
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                attempts.pause(error)

    return stream


class _Attempts:
    """Those of one call."""

    def __init__(self, name: str, policy: RetryPolicy, on: tuple[type[Exception], ...] | None) -> None:
        self._name = name or "the function"
        self._policy = policy
        self._on = on
        self._failed = 0
        self._id = uuid.uuid4().hex
        self.begun = False
        self.over = False

    def pause(self, error: Exception) -> None:
        """Wait in this thread for the next attempt; raises when there is none, or the call was given up meanwhile."""
        seconds = self.pause_after(error)
        if not is_given_up():
            time.sleep(seconds)
        if is_given_up():  # what an async function hears where it waits
            raise error

    def pause_after(self, error: Exception) -> float:
        """Seconds until the next attempt; raises when there is none."""
        self._failed += 1
        if self.begun or self._policy.attempts == 1 or not may_help(error, self._on):
            raise error
        if self._failed >= self._policy.attempts:
            raise MaxRetriesExceeded(
                f"{self._name} failed {self._failed} times, the last time with {type(error).__name__}: {said(error)}"
            ) from error
        return delay_ms(self._policy, self._failed, self._id, asked_ms=asked_pause_ms(error)) / 1000


_Begin = Callable[[], _Attempts]
