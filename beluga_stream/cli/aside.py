"""What would hold the loop up runs in a thread beside it, so that a command that is told to stop stops at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Had = TypeVar("Had")


async def aside(call: Callable[Given, Had], *given: Given.args, **named: Given.kwargs) -> Had:
    """What the call gives or raises. A caller that is cancelled leaves it behind in its thread.

    The thread does not keep the process from ending. One of an executor would, since Python waits for those.
    """
    future: Future[Had] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(call(*given, **named))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            future.set_exception(error)

    Thread(target=work, name="beluga-aside", daemon=True).start()
    return await asyncio.wrap_future(future)
