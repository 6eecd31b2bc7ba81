"""What may handle the messages of a subscriber, and how it is called. What could never take one is refused at once."""

import contextvars
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..application.execution.threads import Threads
from ..errors import InvalidConfig
from .bus_message import BusMessage

Call = Callable[[BusMessage[Any]], Awaitable[Any]]
"""Hands a message to a handler, and gives what it returns."""


def call_of(handler: object, threads: Threads) -> Call:
    """How to call it: one that is not async in a thread. Raises `InvalidConfig` for what takes no messages."""
    if not callable(handler):
        hint = ": give `lambda message: it.invoke(message.data)`" if hasattr(handler, "invoke") else ""
        raise InvalidConfig(f"a subscriber's handler is a function of the message, and {handler!r} is none{hint}")
    function: Any = handler
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = type(function).__call__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidConfig(
            f"the handler {handler!r} is a generator, and nobody would take what it yields: let it return one answer, "
            f"or publish each"
        )
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(function)

    async def call(message: BusMessage[Any]) -> Any:
        if is_async:
            given = handler(message)
        else:
            # The trace that is going on is a context variable: it goes along.
            context = contextvars.copy_context()
            given = await threads.call(lambda: context.run(handler, message))
        answer = await given if inspect.isawaitable(given) else given
        if inspect.isgenerator(answer) or inspect.isasyncgen(answer):
            raise TypeError(f"the handler gave a generator, {answer!r}, of which nothing has run")
        return answer

    return call
