"""Chains and graphs of an orchestrator: as any other, but run by its engines, within its bounds, and counted."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .blueprint import Blueprint
from .chain import Chain
from .compile import Compiled
from .features import Options
from .graph import Graph
from .keys import with_keys
from .memory import Memory
from .node import NodeOptions
from .provider import Runner
from .remembering import merges
from .retry import seconds
from .running import Running
from .signal import Signal
from .work import Fakes, Work

if TYPE_CHECKING:
    from ..application.clients.results import Event

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741


class _Managed(Work[I, O], Generic[I, O]):
    """What both have: an engine that runs them, options, and a way to ask how they are."""

    _running: Running
    _options: Options
    _runner: Runner | None = None

    @property
    def options(self) -> Options:
        """How it runs."""
        return self._options

    @property
    def description(self) -> str:
        """What it is for, in its maker's words."""
        return self._options.description

    async def invoke(
        self,
        input: I,  # noqa: A002 - the field's name for it
        /,
        *,
        fakes: Fakes | None = None,
        signals: Mapping[Signal[Any], object] | None = None,
    ) -> O:
        """Run it on its engine and return its result; with `fakes`, here and uncounted.

        Raises `InvalidInput` for an input that fails its type and for a signal that nothing waits for, `TimedOut` when
        it takes too long, `RunFailed` when a step failed for good (`retryable` tells whether the same call may succeed
        later), `ResourceExhausted` when its workers have too much to do, and `InvalidState` when its orchestrator is
        closed.
        """
        if fakes:
            return await super().invoke(input, fakes=fakes, signals=signals)
        result: O = await self._running.invoke(
            self, self._opened(), input, limit=seconds(self._options.timeout), signals=signals or {}
        )
        return result

    async def stream(
        self,
        input: I,  # noqa: A002 - the field's name for it
        /,
        *,
        fakes: Fakes | None = None,
        signals: Mapping[Signal[Any], object] | None = None,
    ) -> "AsyncGenerator[Event, None]":
        """Run it on its engine and yield what happens, with the same timeout and retries as `invoke`.

        A run that fails raises nothing here: its last event tells. Leaving the loop early stops the run at `aclose()`.
        """
        if fakes:
            events = super().stream(input, fakes=fakes, signals=signals)
        else:
            events = self._running.stream(
                self, self._opened(), input, limit=seconds(self._options.timeout), signals=signals or {}
            )
        async with aclosing(events):
            async for event in events:
                yield event

    async def check(self) -> None:
        """Whether it could run now. Raises `InvalidGraph`, or what is wrong with its engine."""
        await self._running.check(self, self._opened())

    def _opened(self) -> Runner:
        if self._runner is None:
            self._runner = self._running.runner(self, self._options)
        return self._runner


class ManagedChain(_Managed[I, O], Chain[I, O], Generic[I, O]):
    """A chain that an orchestrator has made."""

    def __init__(self, blueprint: Blueprint, running: Running, options: Options) -> None:
        super().__init__(blueprint.graph, blueprint)
        blueprint.options = NodeOptions(retry=options.retry)
        self._running, self._options = running, options

    @property
    def input_keys(self) -> tuple[str, ...]:
        """What its input must have at least."""
        return self._options.input_keys

    @property
    def output_keys(self) -> tuple[str, ...]:
        """What its result has at least."""
        return self._options.output_keys

    def _compile(self) -> Compiled:
        memory = self._blueprint.memory
        merged = memory is not None and merges(self._blueprint)
        loaded = memory.memory.memory_variables if memory is not None and merged else ()
        needed = tuple(key for key in self.input_keys if key not in loaded)
        return with_keys(super()._compile(), needed, self.output_keys)


class ManagedGraph(_Managed[I, O], Graph[I, O], Generic[I, O]):
    """A graph that an orchestrator has made: add nodes to it."""

    def __init__(
        self,
        name: str,
        kinds: tuple[Any, Any],
        running: Running,
        options: Options,
        *,
        memory: Memory | None = None,
        conversation: Callable[[I], str] | None = None,
    ) -> None:
        super().__init__(name, timeout=options.timeout, memory=memory, conversation=conversation)
        self._blueprint.options = NodeOptions(retry=options.retry)
        self._kinds = kinds
        self._running, self._options = running, options

    def _declared_kinds(self) -> tuple[Any, Any]:
        given, result = (type(None) if kind is None else kind for kind in self._kinds)
        return (None if given is Any else given), (None if result is Any else result)
