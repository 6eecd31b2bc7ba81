"""`Hedge`: a second attempt beside a slow one, for work that may be done twice.

After Dean and Barroso, The Tail at Scale, 2013.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from ..errors import InvalidConfig
from .guard import kind_of
from .ranges import check_duration, check_whole
from .retry import Seconds
from .signature import name_of

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_STOP_SECONDS = 5.0
"""How long an attempt that lost may take to end once it is cancelled."""

log = logging.getLogger("beluga_stream.resilience")


class Hedge:
    """A decorator of async handlers: an attempt that takes longer than `after` gets another one beside it.

    Up to `attempts` go on at a time, `after` (seconds or timedelta, up to 24 hours) apart. The first result wins and is
    given at once; the others are cancelled, and end by themselves. When one fails, those that still run may succeed;
    when all have failed, the first failure is raised. (To try again after a failure, use `Retry`.) Only for work that
    may be done twice.

    Raises `InvalidConfig` when a value is out of range, and for functions that are not async: nothing could stop them.
    """

    def __init__(self, after: Seconds, *, attempts: int = 2) -> None:
        self._after = check_duration("Hedge", "after", after)
        check_whole("Hedge", "attempts", attempts, 2)
        self._lost: set[asyncio.Task[Any]] = set()  # the event loop itself holds tasks but weakly
        self._attempts = attempts

    def __call__(self, function: F, /) -> F:
        if kind_of(function, "Hedge") != "async":
            raise InvalidConfig(
                f"Hedge is for async functions: {name_of(function) or 'this one'} is none, "
                f"and the attempt that loses could not be stopped"
            )

        @functools.wraps(function)
        async def hedged(*given: Any, **named: Any) -> Any:
            return await self._first(lambda: _awaited(function, given, named))

        return cast("F", hedged)

    async def _first(self, attempt: Callable[[], "asyncio.Task[Any]"]) -> Any:
        going = {attempt()}
        begun = 1
        failure: BaseException | None = None
        try:
            while going:
                bound = self._after if begun < self._attempts else None
                done, _ = await asyncio.wait(going, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    going.discard(task)
                    error = _error_of(task)
                    if error is None:
                        self._leave(going)
                        return task.result()
                    failure = failure or error
                if not done:
                    going.add(attempt())
                    begun += 1
        except BaseException:
            await _stop(going)
            raise
        assert failure is not None
        raise failure

    def _leave(self, going: "set[asyncio.Task[Any]]") -> None:
        """Cancel who lost, and see to it that they end; the result does not wait for that."""
        loop = asyncio.get_running_loop()
        for task in going:
            task.cancel()
            self._lost.add(task)
            told = loop.call_later(_STOP_SECONDS, _tell_of, {task})
            task.add_done_callback(functools.partial(self._ended, told))

    def _ended(self, told: asyncio.TimerHandle, task: "asyncio.Task[Any]") -> None:
        told.cancel()
        self._lost.discard(task)
        _error_of(task)  # looked at, so that asyncio does not tell of it


def _awaited(function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> "asyncio.Task[Any]":
    return asyncio.get_running_loop().create_task(function(*given, **named), name=f"hedge-{name_of(function)}")


def _error_of(task: "asyncio.Task[Any]") -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _stop(going: "set[asyncio.Task[Any]]") -> None:
    for task in going:
        task.cancel()
    if not going:
        return
    done, stubborn = await asyncio.wait(going, timeout=_STOP_SECONDS)
    for task in done:
        _error_of(task)  # looked at, so that asyncio does not tell of it
    if stubborn:
        _tell_of(stubborn)


def _tell_of(stubborn: "set[asyncio.Task[Any]]") -> None:
    log.error("%d attempts that lost go on though they are cancelled", len(stubborn), extra={"action": "hedge"})
