"""What every run of an orchestrator goes through: bounded in time, counted, traced, logged, and stopped on close."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from ..application.clients.results import Event, RunChanged
from ..application.in_process.tally import Metrics, Tally
from ..bounds import in_time, until, within
from ..errors import BelugaError, InvalidState, RunFailed, TaskCanceled, TimedOut
from ..ports.spans import Span, Spans, trace_id
from ..ports.telemetry import Telemetry
from .features import Options
from .provider import Providers, Runner, Signals
from .work import Work
from .workflows import Following

_NO_SIGNALS: Signals = {}

_CLOSE_SECONDS = 10.0
"""How long runs may take to stop once their orchestrator is closed."""

_CHECK_SECONDS = 10.0

_LATE_SECONDS = 1.0
"""A stream's engine ends its run in time by itself; what does not is ended here, so much later."""


class Running:
    """See the module."""

    def __init__(self, providers: Providers, telemetry: Telemetry, spans: Spans, logger: logging.Logger) -> None:
        self.providers = providers
        self._telemetry = telemetry
        self._spans = spans
        self._logger = logger
        self._tallies = {"chain": Tally(), "graph": Tally()}
        self.following = Following(telemetry, spans, logger)
        self._bounds: set[asyncio.Timeout] = set()
        self._idle: set[AsyncGenerator[Event, None]] = set()  # streams whose readers are busy elsewhere
        self._closing: frozenset[AsyncGenerator[Event, None]] = frozenset()  # those of them that `aclose` ends
        self._still = asyncio.Event()
        self._still.set()
        self._closed = False

    def check_provider(self, provider: str, kind: str, given: Mapping[str, Any]) -> None:
        """Raises `NotFound` and `InvalidConfig` for an engine that does not run this kind, or not as given."""
        self.providers.get(provider, kind)
        self.providers.refuse_ignored(provider, given)

    def runner(self, work: Work[Any, Any], options: Options) -> Runner:
        """What runs this from now on. Raises `NotFound` and `InvalidConfig` for an engine that cannot."""
        self.refuse_if_closed()
        return self.providers.runner(work, options)

    async def invoke(
        self, work: Work[Any, Any], runner: Runner, value: Any, *, limit: float, signals: Signals = _NO_SIGNALS
    ) -> Any:
        """The result of one run, after at most so many seconds, and what it takes to undo it then."""
        self.refuse_if_closed()
        with self._watched(work):
            try:
                async with self._bounded(work, within(_own_bound(runner, limit)), limit):
                    return await runner.invoke(value, signals=signals)
            except RunFailed as error:
                if error.reason == TimedOut.code and "node" not in error.ids:
                    # Its engine has ended it, after a time that may be another: where it is deployed.
                    raise TimedOut(error.message, **{"graph": work.name, **error.ids}) from error
                raise

    async def stream(
        self, work: Work[Any, Any], runner: Runner, value: Any, *, limit: float, signals: Signals = _NO_SIGNALS
    ) -> AsyncGenerator[Event, None]:
        """What happens in one run, for at most so many seconds, and while it is undone then."""
        self.refuse_if_closed()
        bound = _own_bound(runner, limit + _LATE_SECONDS)
        deadline = None if bound is None else asyncio.get_running_loop().time() + bound
        with self._watched(work, parental=False) as outcome:
            events = runner.stream(value, signals=signals)
            try:
                while (event := await self._next(work, outcome, events, deadline, limit)) is not None:
                    if isinstance(event, RunChanged) and event.ended and event.status != "succeeded":
                        outcome.failure = event.status if event.failure is None else event.failure.message
                    if isinstance(event, RunChanged) and event.ended:
                        deadline = None  # it has ended in time, however late its reader comes to see that
                    self._idle.add(events)
                    yield event
            finally:
                self._idle.discard(events)
                if events not in self._closing:
                    await events.aclose()

    async def check(self, work: Work[Any, Any], runner: Runner) -> None:
        """Raises what keeps this from running."""
        self.refuse_if_closed()
        await self.checked(runner, f"{work.compile().definition.kind} {work.name!r}")

    async def check_all(self) -> None:
        """Raises what is wrong with the engines in use."""
        self.refuse_if_closed()
        for name, provider in tuple(self.providers.opened.items()):
            await self.checked(provider, f"provider {name!r}")

    async def checked(self, checked: Any, what: str) -> None:
        """Raises what is wrong with it, and `TimedOut` when it does not say."""
        late = f"{what} did not say within {_CHECK_SECONDS:g} s how it is"
        async with in_time(_CHECK_SECONDS, lambda: TimedOut(late)):
            await checked.check()

    def metrics(self) -> Metrics:
        """What goes on and what has been."""
        return Metrics(
            chains=self._tallies["chain"].snapshot(),
            graphs=self._tallies["graph"].snapshot(),
            workflows=self.following.tally.snapshot(),
        )

    def refuse_if_closed(self) -> None:
        """Raises `InvalidState` after `aclose`."""
        if self._closed:
            raise InvalidState("the orchestrator is closed: make another")

    async def aclose(self) -> None:
        """Take no more runs, stop those that go on, close the engines."""
        if self._closed:
            return
        self._closed = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.providers.aclose)
            stack.push_async_callback(self.following.aclose)
            await self._stop()

    async def _stop(self) -> None:
        """Stop the runs that go on, and wait until they have, within a bound."""
        now = asyncio.get_running_loop().time()
        for bound in tuple(self._bounds):
            if not bound.expired():  # else its step is being stopped already
                bound.reschedule(now)
        self._closing = frozenset(self._idle)
        closing = [asyncio.ensure_future(events.aclose()) for events in self._closing]
        with contextlib.suppress(TimeoutError):
            async with within(_CLOSE_SECONDS):
                await self._still.wait()
                if closing:
                    await asyncio.wait(closing)
        going_on = len(self._bounds) + sum(not each.done() for each in closing)
        if going_on:
            self._logger.error("%d runs go on though their orchestrator is closed", going_on)

    async def _next(
        self,
        work: Work[Any, Any],
        outcome: "_Outcome",
        events: AsyncGenerator[Event, None],
        deadline: float | None,
        limit: float,
    ) -> Event | None:
        """The next event; None after the last. The reader's own spans, between two events, are none of the run's."""
        self._idle.discard(events)
        if self._closed:
            raise self._over(work, limit)
        with outcome.span.inside():
            async with self._bounded(work, until(deadline), limit):
                return await anext(events, None)

    @asynccontextmanager
    async def _bounded(self, work: Work[Any, Any], bound: asyncio.Timeout, limit: float) -> AsyncIterator[None]:
        """What is done inside ends in time, or when the orchestrator is closed."""
        self._bounds.add(bound)
        self._still.clear()
        try:
            async with bound:
                yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self._over(work, limit) from error
        finally:
            self._bounds.discard(bound)
            if not self._bounds:
                self._still.set()

    def _over(self, work: Work[Any, Any], limit: float) -> BelugaError:
        """What a run raises that has been stopped: its orchestrator is closed, or its time is up."""
        if self._closed:
            return TaskCanceled(f"{work.name!r} was stopped: its orchestrator is closed", graph=work.name)
        return TimedOut(f"{work.name!r} did not end within {limit:g} s", graph=work.name)

    @contextmanager
    def _watched(self, work: Work[Any, Any], *, parental: bool = True) -> Iterator["_Outcome"]:
        definition = work.compile().definition
        kind, name, tally = definition.kind, definition.name, self._tallies[definition.kind]
        began = time.perf_counter()
        tally.started()
        self._telemetry.run_started(kind, name, len(definition.nodes))
        with self._spans.span(f"{kind}.invoke", {f"{kind}.name": name}, parental=parental) as span:
            outcome = _Outcome(span)
            try:
                yield outcome
            except BaseException as error:
                outcome.failure = str(error) or type(error).__name__
                outcome.left = isinstance(error, asyncio.CancelledError | GeneratorExit)
                raise
            finally:
                took, success = time.perf_counter() - began, outcome.failure is None
                tally.ended(success=success, seconds=took)
                self._telemetry.run_ended(kind, name, success=success, seconds=took)
                if outcome.failure is not None:
                    span.fail(outcome.failure)
                with span.inside():
                    self._log(kind, name, took, outcome)

    def _log(self, kind: str, name: str, took: float, outcome: "_Outcome") -> None:
        level = logging.DEBUG if outcome.failure is None or outcome.left else logging.INFO
        if not self._logger.isEnabledFor(level):
            return
        here = self._spans.here()
        trace = None if here is None else trace_id(here)
        told = {"action": f"{kind}.invoke", f"{kind}_name": name, "seconds": took, "trace": trace}
        how = (
            "ended"
            if outcome.failure is None
            else "was left"
            if outcome.left
            else f"failed ({outcome.failure.splitlines()[0]})"
        )
        self._logger.log(level, "%s %s %s after %.3f s", kind, name, how, took, extra=told)


def _own_bound(runner: Runner, limit: float) -> float | None:
    """After how long a run is cancelled from here; None where its engine ends it in time, and undoes it then."""
    return None if getattr(runner, "ends_in_time", False) else limit


@dataclass(slots=True)
class _Outcome:
    """How a run ended: `failure` says why it gave no result, `left` that nobody wanted it any more."""

    span: Span
    failure: str | None = None
    left: bool = False
