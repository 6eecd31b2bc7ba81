"""`CircuitBreaker`: stops calling what fails, and tries it again after a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

from ..application.execution.judging import may_help
from ..application.execution.plain_calls import STORES
from ..application.in_process.circuits import LocalCircuits
from ..bounds import in_time
from ..domain import circuit as machine
from ..domain.circuit import Admission, Circuit, CircuitRules, CircuitState
from ..errors import CircuitBreakerOpen, InvalidConfig, TimedOut
from ..ports.circuits import Circuits
from .guard import guarded, kind_of, marked
from .ranges import check_duration, check_whole
from .retry import Seconds, kinds_of, milliseconds

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


class CircuitBreaker:
    """A decorator of handlers: `failures` in a row open the circuit, and calls raise `CircuitBreakerOpen`.

    After `reset_after` (seconds or timedelta, up to 24 hours) one call goes through as a trial: its success closes the
    circuit, its failure opens it anew. `on` are the exceptions that count as failures, one class or several; None means
    those that another attempt may mend, as for `Retry`. An async call that takes longer than `timeout` (up to 24 hours
    too) is stopped, raises `TimedOut` and is a failure, whatever `on` says; one that is cancelled from outside does not
    count. Functions under one breaker share its circuit; with a `store` (see `SharedCircuits`) so do all breakers of
    this name. `now` gives seconds since the epoch.

    Raises `InvalidConfig` when a value is out of range.
    """

    def __init__(  # noqa: PLR0913 - options, each given by its name
        self,
        name: str,
        *,
        failures: int = 5,
        reset_after: Seconds = 30,
        on: type[Exception] | Iterable[type[Exception]] | None = None,
        timeout: Seconds | None = None,
        store: Circuits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not name:
            raise InvalidConfig("CircuitBreaker needs a name: what its calls lead to, as 'payments'")
        check_whole("CircuitBreaker", "failures", failures, 1)
        check_duration("CircuitBreaker", "reset_after", reset_after)
        self.name = name
        self._rules = CircuitRules(failures, milliseconds(reset_after))
        self._on = kinds_of("CircuitBreaker", on)
        self._timeout = None if timeout is None else check_duration("CircuitBreaker", "timeout", timeout)
        self._store: Circuits = store or LocalCircuits()
        self._shared = store is not None
        self._now = now

    def __call__(self, function: F, /) -> F:
        kind = kind_of(function, "CircuitBreaker")
        if self._timeout is not None and kind != "async":
            raise InvalidConfig(
                f"CircuitBreaker({self.name!r}, timeout=...) is for async functions: others cannot be stopped; "
                f"let what they call have a timeout"
            )
        return marked(guarded(function, self, "CircuitBreaker"), "CircuitBreaker", of_one_process=not self._shared)

    @property
    def state(self) -> CircuitState:
        """`closed`, `open` or `half_open`, now."""
        return machine.state_of(self._store.read(self.name), self._rules, self._now_ms())

    @contextmanager
    def around(self) -> Iterator[None]:
        """One call, in its thread. Raises `CircuitBreakerOpen`."""
        admission = self._admit()
        try:
            yield
        except BaseException as error:
            self._ended(admission, error)
            raise
        self._ended(admission, None)

    @asynccontextmanager
    async def around_async(self) -> AsyncIterator[None]:
        """One call, in its event loop. Raises `CircuitBreakerOpen`."""
        admission = await self._admitted()
        over: TimedOut | None = None

        def late() -> TimedOut:
            nonlocal over
            over = TimedOut(f"{self.name}: a call took longer than {self._timeout:g} s", circuit=self.name)
            return over

        try:
            async with in_time(self._timeout, late):
                yield
        except BaseException as error:
            ended = error
            await self._asked(lambda: self._ended(admission, ended, is_late=ended is over))
            raise
        await self._asked(lambda: self._ended(admission, None))

    async def _admitted(self) -> Admission:
        """Ask the store. A caller that is cancelled meanwhile makes no trial, and must not keep others from theirs."""
        if not self._store.waits:
            return self._admit()
        asking = asyncio.ensure_future(STORES.call(self._admit))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError as error:
            cancelled = error
            with suppress(CircuitBreakerOpen):
                admission = await asyncio.shield(asking)
                await self._asked(lambda: self._ended(admission, cancelled))
            raise

    async def _asked(self, question: Callable[[], R]) -> R:
        """Ask the store, in a thread if that may wait. What a cancelled caller has told it counts all the same."""
        if not self._store.waits:
            return question()
        return await asyncio.shield(STORES.call(question))

    def _admit(self) -> Admission:
        circuit = self._store.read(self.name)
        if circuit.opened_ms is None:
            return Admission()
        now_ms = self._now_ms()
        admission = self._store.update(self.name, lambda found: machine.admit(found, self._rules, now_ms))
        if admission.wait_ms is not None:
            raise CircuitBreakerOpen(
                f"{self.name} failed too often of late: nothing was called; "
                f"a trial comes in {admission.wait_ms / 1000:.1f} s",
                circuit=self.name,
            )
        return admission

    def _ended(self, admission: Admission, error: BaseException | None, *, is_late: bool = False) -> None:
        if error is None and self._store.read(self.name) == machine.CLOSED:
            return  # there is no failure that it follows on: reading costs less than writing
        now_ms = self._now_ms()

        def change(found: Circuit) -> tuple[Circuit, None]:
            if error is None:
                return machine.succeeded(found, admission), None
            if not isinstance(error, Exception):
                return machine.left(found, admission), None
            if is_late or may_help(error, self._on):
                return machine.failed(found, admission, self._rules, now_ms), None
            # What the caller did wrong, what it leads to has answered.
            return machine.succeeded(found, admission), None

        self._store.update(self.name, change)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)
