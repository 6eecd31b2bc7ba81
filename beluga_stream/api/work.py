"""`Work`: what graphs and chains have in common. They compile, run here, and are triggered."""

import asyncio
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload

from ..errors import InvalidConfig, InvalidGraph
from ..ports.handlers import Program, Trigger
from .compile import Compiled, with_fakes
from .gathering import Together
from .message import Message
from .resource import open_resource
from .retry import Seconds, milliseconds
from .schedule import CatchUp, Cron
from .signal import Signal, dumped
from .signature import name_of
from .topic import Topic
from .trigger import Declared, OnRun, compile_trigger

if TYPE_CHECKING:
    from ..application.clients.results import Event
    from .blueprint import Blueprint
    from .memory import Memory

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
E = TypeVar("E")

Fakes = Mapping[Callable[..., Any], Callable[..., Any]]

_COMPILING = threading.RLock()
"""One graph is compiled at a time, with those in it: threads that use it first at once must not meet half of it."""


class Work(ABC, Generic[I, O]):
    """Something that runs: a `Graph` or a `Chain`, from an input `I` to a result `O`."""

    _blueprint: "Blueprint"

    def __init__(self, name: str) -> None:
        self._name = name
        self._declared: list[Declared] = []
        self._compiled: tuple[object, Compiled] | None = None
        self._is_compiling = False

    @property
    def name(self) -> str:
        """What it is known by to clients and triggers."""
        return self._name

    @property
    def durable(self) -> bool:
        """Whether its runs live on Temporal."""
        return False

    @property
    def input_kind(self) -> Any:
        """The type of its input. Raises `InvalidGraph` as `compile` does."""
        return self._current().input_kind

    @property
    def output_kind(self) -> Any:
        """The type of its result. Raises `InvalidGraph` as `compile` does."""
        return self._current().output_kind

    @property
    def memory(self) -> "Memory | None":
        """What it remembers by."""
        return None if self._blueprint.memory is None else self._blueprint.memory.memory

    def compile(self) -> Program:
        """Check it and make it ready to run; kept until it changes.

        Raises `InvalidGraph`, naming the node and the fix.
        """
        return self._current().program

    @property
    def triggers(self) -> Sequence[Trigger]:
        """What starts it, compiled. Raises `InvalidGraph` for types that do not fit."""
        return [compile_trigger(declared, self) for declared in self._declared]

    def deploy(self) -> tuple[Program, Sequence[Trigger]]:
        """What a deployment takes: the program and its triggers.

        Raises `InvalidGraph`, also for a memory that is kept in one process.
        """
        self._check_shared()
        return self.compile(), self.triggers

    @overload
    def trigger(
        self,
        on: Topic[I] | OnRun[I],
        /,
        *,
        where: Callable[[Message[I]], bool] | None = None,
        idempotency_key: Callable[[Message[I]], str] | None = None,
    ) -> Self: ...
    @overload
    def trigger(
        self,
        on: Topic[E] | OnRun[E],
        map: Callable[[Message[E]], I],
        /,
        *,
        where: Callable[[Message[E]], bool] | None = None,
        idempotency_key: Callable[[Message[E]], str] | None = None,
    ) -> Self: ...
    @overload
    def trigger(self, on: Together[I], /) -> Self: ...
    @overload
    def trigger(self, on: Together[E], map: Callable[[E], I], /) -> Self: ...
    def trigger(
        self,
        on: Topic[Any] | OnRun[Any] | Together[Any],
        map: Callable[[Any], Any] | None = None,  # noqa: A002 - what it is
        /,
        *,
        where: Callable[[Message[Any]], bool] | None = None,
        idempotency_key: Callable[[Message[Any]], str] | None = None,
    ) -> Self:
        """Start a run for each event of a topic, each end of another graph's runs, or several events together.

        `map` makes the input of a message (of a join: of its tuple; of a batch: of its list); without it the data is
        the input.
        `where` picks messages. `idempotency_key` makes two events with one key one run; by default it is
        the CloudEvents source and id, else the record's position. All run at ingest; one that raises
        sends its event to dead letters. Raises `InvalidGraph` for the same source twice, and for an async function.
        """
        if isinstance(on, str):
            raise InvalidGraph(
                f"graph {self._name!r}: trigger({on!r}) takes a Topic: Topic({on!r}, TypeOfItsEvents)", graph=self._name
            )
        self._refuse_async({"map": map, "where": where, "idempotency_key": idempotency_key})
        self._declare(Declared(on, map, where, idempotency_key))
        return self

    def schedule(
        self,
        cron: str,
        /,
        *,
        input: I | Callable[[datetime], I],  # noqa: A002 - the field's name
        tz: str = "UTC",
        jitter: Seconds = 0,
        catch_up: CatchUp = "last",
        name: str | None = None,
    ) -> Self:
        """Start a run at each time of a cron expression, in a time zone of the IANA database.

        The expression has five fields, or six with the second first. `input` is the run's input, or makes it of the
        time. Runs start up to `jitter` later (seconds or timedelta), each by an amount of its own that never changes.
        What was missed by more than a minute, since nothing ran then, is caught up with: `all` of it, the `last` time
        alone, or none (`skip`). A schedule goes on from its last time under its `name` (default: the expression and
        zone), and begins when it is first deployed.

        When clocks change it does as cron does: a time that is skipped runs right after, one that comes twice runs
        once; with `*` for the hour it goes by real time. Raises `InvalidConfig` for an expression that is none or never
        comes, and an unknown zone, and `InvalidGraph` for the same name twice.
        """
        self._refuse_async({"input": input})
        made = input if callable(input) else _always(input)
        self._declare(Declared(Cron(cron, tz, made, milliseconds(jitter), catch_up, name), None, None, None))
        return self

    def _refuse_async(self, given: Mapping[str, object]) -> None:
        """What a coroutine function gives is no answer: as a filter it would pick every event."""
        for what, function in given.items():
            if inspect.iscoroutinefunction(function):
                raise InvalidGraph(
                    f"graph {self._name!r}: {what} of a trigger is {name_of(function)}, which is async: give a plain "
                    f"function, and do in a node what takes time",
                    graph=self._name,
                )

    def _declare(self, declared: Declared) -> None:
        if any(other.name == declared.name for other in self._declared):
            raise InvalidGraph(
                f"graph {self._name!r} is triggered by {declared.name!r} twice: put both into one where= or map",
                graph=self._name,
            )
        self._declared.append(declared)

    async def invoke(
        self,
        input: I,  # noqa: A002 - the field's name for it
        /,
        *,
        fakes: Fakes | None = None,
        signals: Mapping[Signal[Any], object] | None = None,
    ) -> O:
        """Run it here, in this process, without a broker, and return its result.

        `fakes` puts functions in the place of handlers; `signals` answers waits. Raises `InvalidGraph`,
        `InvalidInput` for an input that fails its type and for a signal that nothing waits for, and `RunFailed`.
        """
        from ..application.local.local import LocalEngine  # noqa: PLC0415 - only who runs graphs needs the engine

        engine = LocalEngine(open_resource=open_resource)
        result: O = await engine.invoke(self._faked(fakes), input, signals=dumped(signals or {}))
        return result

    @overload
    async def batch(
        self,
        inputs: Iterable[I],
        /,
        *,
        max_concurrency: int = 8,
        fakes: Fakes | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[O]: ...
    @overload
    async def batch(
        self, inputs: Iterable[I], /, *, max_concurrency: int = 8, fakes: Fakes | None = None, return_exceptions: bool
    ) -> list[O | BaseException]: ...
    async def batch(
        self,
        inputs: Iterable[I],
        /,
        *,
        max_concurrency: int = 8,
        fakes: Fakes | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Run it for each input, at most `max_concurrency` at a time; results in the inputs' order.

        The first that fails cancels the rest and is raised; with `return_exceptions` all are run, and what one raised
        stands in the place of its result. Raises `InvalidConfig` for a bound below 1.
        """
        if not isinstance(cast("object", max_concurrency), int) or max_concurrency < 1:
            raise InvalidConfig(
                f"batch(max_concurrency={max_concurrency!r}): give a whole number, at least 1 must be able to run"
            )
        slots = asyncio.Semaphore(max_concurrency)

        async def one(value: I) -> O:
            async with slots:
                return await self.invoke(value, fakes=fakes)

        values = list(inputs)  # before any begins: what raises in between would leave those behind that have
        tasks = [asyncio.ensure_future(one(value)) for value in values]
        try:
            return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
        finally:
            for task in tasks:
                if not task.cancelling():  # a second cancel would break off what the first one makes it tidy up
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stream(
        self,
        input: I,  # noqa: A002 - the field's name for it
        /,
        *,
        fakes: Fakes | None = None,
        signals: Mapping[Signal[Any], object] | None = None,
    ) -> "AsyncGenerator[Event, None]":
        """Run it here and yield what happens: status changes, chunks, outputs. Raises as `invoke` does.

        A run that fails raises nothing here: its last event tells. Leaving the loop early stops the
        run at `aclose()`.
        """
        from ..application.local.local import LocalEngine  # noqa: PLC0415 - see invoke

        engine = LocalEngine(open_resource=open_resource)
        async with aclosing(engine.stream(self._faked(fakes), input, signals=dumped(signals or {}))) as events:
            async for event in events:
                yield event

    def _faked(self, fakes: Fakes | None) -> Program:
        return with_fakes(self.compile(), fakes) if fakes else self.compile()

    def _current(self) -> Compiled:
        with _COMPILING:
            if self._is_compiling:
                raise InvalidGraph(
                    f"graph {self._name!r} contains itself: use a loop over a function (add_loop) instead",
                    graph=self._name,
                )
            self._is_compiling = True
            try:
                stamp = self._stamp()
                if self._compiled is None or self._compiled[0] != stamp:
                    self._compiled = (stamp, self._compile())
                return self._compiled[1]
            finally:
                self._is_compiling = False

    def _check_shared(self) -> None:
        """Raises `InvalidGraph` for a memory that only one process would have."""
        memory = self._blueprint.memory
        if memory is not None and not memory.is_shared:
            raise InvalidGraph(
                f"graph {self._name!r} remembers in its process alone, and workers are many and come and go: give its "
                f"memory a store that they share, as SQLiteStore(path) or RedisStore(url)",
                graph=self._name,
            )
        for step in self._blueprint.steps.values():
            if step.work is not None:
                step.work._check_shared()  # noqa: SLF001 - of its own kind

    @abstractmethod
    def _stamp(self) -> object:
        """Equal as long as what is compiled is still right."""

    @abstractmethod
    def _compile(self) -> Compiled: ...


def _always(value: Any) -> Callable[[datetime], Any]:
    """The same input at each time."""
    return lambda _: value
