"""Engines that run what an orchestrator makes: their contract, and how they are found by name."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ..application.clients.results import Event
from ..errors import BelugaError, InvalidConfig, NotFound
from ..ports.workflow_runner import WorkflowRunner
from .features import Options, WorkflowOptions
from .signal import Signal
from .work import Work

GROUP = "beluga_stream.providers"
"""The entry point group in which packages name their providers: each loads to a `ProviderFactory`."""

Signals: TypeAlias = Mapping[Signal[Any], object]


@runtime_checkable
class Runner(Protocol):
    """Runs one chain or graph. It may be called any number of times at once.

    A run whose `timeout` is over is cancelled from outside, and what is cancelled is not undone. A runner may have an
    attribute `ends_in_time`: True says that its engine ends such a run by itself, as failed, and undoes what it did,
    however long that takes. Then nobody breaks that off.
    """

    async def invoke(self, value: Any, /, *, signals: Signals) -> Any:
        """The result for an input; `signals` answer waits. When it is cancelled, the run is.

        Raises `InvalidInput` for an input that fails its type and for a signal that nothing waits for, and `RunFailed`.
        """
        raise NotImplementedError

    def stream(self, value: Any, /, *, signals: Signals) -> AsyncGenerator[Event, None]:
        """What happens in a run up to its end, which its last event tells. Closing it stops the run."""
        raise NotImplementedError

    async def check(self) -> None:
        """Raises what keeps it from running; returns when all is well."""
        raise NotImplementedError


@runtime_checkable
class Provider(Protocol):
    """An engine. The orchestrator opens it when it is first needed, and closes it.

    It may have an attribute `ignores`: names of `Options` that mean nothing to it, as `max_workers`. A chain
    or graph for this engine that is given one of them is refused; as a default it does not apply.
    """

    @property
    def kinds(self) -> Collection[str]:
        """What it runs: some of `chain`, `graph` and `workflow`."""
        raise NotImplementedError

    def runner(self, work: Work[Any, Any], options: Options, /) -> Runner:
        """What runs this chain or graph. Raises `BelugaError` for what this engine cannot do."""
        raise NotImplementedError

    async def check(self) -> None:
        """Raises what is wrong with the engine; returns when all is well."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Let go of everything. Called once, and nothing after it."""
        raise NotImplementedError


@runtime_checkable
class WorkflowProvider(Provider, Protocol):
    """An engine that runs durable workflows too: `workflow` is among its kinds."""

    def workflow(self, made: Work[Any, Any] | type[Any], options: WorkflowOptions, /) -> WorkflowRunner:
        """What runs this durable graph or workflow class. Raises `BelugaError` for what this engine cannot do."""
        raise NotImplementedError


ProviderFactory: TypeAlias = Callable[[], Provider]
"""Makes a provider; a class without arguments is one. It must not connect: that is for the first run."""

_OF_WORKFLOWS = ("start", "result", "signal", "query", "update", "cancel", "terminate", "describe", "check")

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class Providers:
    """The engines of one orchestrator, by name: given ones before built-in ones before entry points."""

    def __init__(self, given: Mapping[str, ProviderFactory], built_in: Mapping[str, ProviderFactory]) -> None:
        for name in given:
            if not _NAME.fullmatch(name):
                raise InvalidConfig(f"provider {name!r}: give a name of small letters, digits, '-' and '_'")
        self._factories = {**built_in, **given}
        self._open: dict[str, Provider] = {}

    @property
    def names(self) -> list[str]:
        """Every engine that can be asked for."""
        return sorted({*self._factories, *(point.name for point in entry_points(group=GROUP))})

    @property
    def opened(self) -> Mapping[str, Provider]:
        """Those in use."""
        return self._open

    def get(self, name: str, kind: str) -> Provider:
        """The engine of this name, opened when it is first asked for.

        Raises `NotFound` for an unknown one, and `InvalidConfig` for one that is broken or does not run this kind.
        """
        provider = self._open.get(name)
        if provider is None:
            provider = self._open[name] = _made(name, self._factory(name))
        if kind not in provider.kinds:
            runs = ", ".join(f"{one}s" for one in sorted(provider.kinds))
            raise InvalidConfig(f"provider {name!r} runs no {kind}s, only {runs}: choose another provider=")
        return provider

    def runner(self, work: Work[Any, Any], options: Options) -> Runner:
        """What runs this, by the engine that its options name. Raises as `get` does."""
        kind = work.compile().definition.kind
        runner: object = self.get(options.provider, kind).runner(work, options)
        if not isinstance(runner, Runner):
            raise InvalidConfig(
                f"provider {options.provider!r} runs {kind}s by a {type(runner).__name__}, which lacks "
                f"{', '.join(_missing(runner, 'invoke', 'stream', 'check'))}: see the protocol Runner"
            )
        return runner

    def workflow(self, made: Work[Any, Any] | type[Any], options: WorkflowOptions) -> WorkflowRunner:
        """What runs this durably, by the engine that its options name. Raises as `get` does."""
        provider = self.get(options.provider, "workflow")
        if not isinstance(provider, WorkflowProvider):
            raise InvalidConfig(
                f"provider {options.provider!r} is a {type(provider).__name__}, which lacks workflow: see the protocol "
                f"WorkflowProvider"
            )
        runner: object = provider.workflow(made, options)
        if not isinstance(runner, WorkflowRunner):
            raise InvalidConfig(
                f"provider {options.provider!r} runs workflows by a {type(runner).__name__}, which lacks "
                f"{', '.join(_missing(runner, *_OF_WORKFLOWS))}: see the protocol WorkflowRunner"
            )
        return runner

    def refuse_ignored(self, name: str, given: Mapping[str, Any]) -> None:
        """Raises `InvalidConfig` for options, given by name, that the open engine of this name would ignore.

        What is True asks for nothing special: `parallel` is how every engine runs.
        """
        ignored = [one for one in getattr(self._open[name], "ignores", ()) if given.get(one, True) is not True]
        if ignored:
            raise InvalidConfig(
                f"provider {name!r} does not keep {', '.join(ignored)}: leave that out, or choose provider='local'"
            )

    async def aclose(self) -> None:
        """Close what is open; the first that raises is raised when all are closed."""
        opened, self._open = list(self._open.values()), {}
        results = await asyncio.gather(*(provider.aclose() for provider in opened), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _factory(self, name: str) -> ProviderFactory:
        if name in self._factories:
            return self._factories[name]
        for point in entry_points(group=GROUP, name=name):
            try:
                found: ProviderFactory = point.load()
            except Exception as error:
                raise InvalidConfig(
                    f"provider {name!r} does not load: entry point {point.value!r} raised "
                    f"{type(error).__name__}: {error}"
                ) from error
            return found
        raise NotFound(f"there is no provider {name!r}: there are {', '.join(self.names)}")


def _made(name: str, factory: ProviderFactory) -> Provider:
    try:
        provider: object = factory()
    except BelugaError:  # it says itself what it lacks
        raise
    except Exception as error:
        if isinstance(error, TypeError) and _is_of_call(error):
            raise InvalidConfig(f"provider {name!r}: its factory takes no arguments and makes it: {error}") from error
        raise InvalidConfig(
            f"provider {name!r} cannot be made: its factory raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(provider, Provider):
        raise InvalidConfig(
            f"provider {name!r} is a {type(provider).__name__}, which lacks "
            f"{', '.join(_missing(provider, 'kinds', 'runner', 'check', 'aclose'))}: see the protocol Provider"
        )
    return provider


def _is_of_call(error: TypeError) -> bool:
    """Whether what was called did not even begin."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _missing(found: object, *methods: str) -> list[str]:
    return [method for method in methods if not hasattr(found, method)]
