"""`Orchestrator`: makes chains, graphs and workflows that share engines, defaults, bounds and metrics."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload

from ..application.in_process.tally import Metrics
from ..errors import InvalidConfig, InvalidState
from .bus import MessageBus
from .chain import line_of
from .features import (
    CHAIN,
    GRAPH,
    ChainOptions,
    Defaults,
    Features,
    GraphOptions,
    Options,
    WorkflowOptions,
    WorkflowTerms,
    merged,
    workflow_options,
)
from .managed import ManagedChain, ManagedGraph
from .remembering import remembered
from .runnable import LastAsync, LastStreams, LastSync, Step
from .running import Running
from .scheduler import Scheduler
from .work import Work
from .workflow import Workflow

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")


class Orchestration:
    """All of an orchestrator but how it is wired, which `bootstrap` knows. Use it with `async with`."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        running: Running,
        features: Features,
        chains: Defaults,
        graphs: Defaults,
        workflows: Defaults,
        *,
        make_bus: Callable[[], MessageBus],
        has_middleware: bool = False,
    ) -> None:
        if not isinstance(cast("object", features), Features):
            raise InvalidConfig(f"features={features!r}: give Features(...)")
        for kind, defaults in (("chains", chains), ("graphs", graphs), ("workflows", workflows)):
            if not isinstance(cast("object", defaults), Defaults):
                raise InvalidConfig(f"{kind}={defaults!r}: give Defaults(...)")
            if kind == "graphs":
                continue
            for name in ("max_workers", "queue_size"):
                if getattr(defaults, name) is not None:
                    raise InvalidConfig(f"{kind}=Defaults({name}=...): {kind} have no workers of their own; graphs do")
        self._running = running
        self._features = features
        self._chains = chains
        self._graphs = graphs
        self._workflows = workflows
        self._has_middleware = has_middleware
        self._scheduler: Scheduler | None = None
        self._make_bus = make_bus
        self._bus: MessageBus | None = None

    async def __aenter__(self) -> Self:
        self._running.refuse_if_closed()
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        await self.aclose()

    @overload
    def create_chain(self, a: LastStreams[A, B], /, **options: Unpack[ChainOptions]) -> ManagedChain[A, list[B]]: ...
    @overload
    def create_chain(self, a: LastAsync[A, B], /, **options: Unpack[ChainOptions]) -> ManagedChain[A, B]: ...
    @overload
    def create_chain(self, a: LastSync[A, B], /, **options: Unpack[ChainOptions]) -> ManagedChain[A, B]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: LastStreams[B, C], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, list[C]]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: LastAsync[B, C], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, C]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: LastSync[B, C], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, C]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: Step[B, C], c: LastStreams[C, D], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, list[D]]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: Step[B, C], c: LastAsync[C, D], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, D]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: Step[B, C], c: LastSync[C, D], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, D]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: Step[B, C], c: Step[C, D], d: LastStreams[D, E], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, list[E]]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: Step[B, C], c: Step[C, D], d: LastAsync[D, E], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, E]: ...
    @overload
    def create_chain(
        self, a: Step[A, B], b: Step[B, C], c: Step[C, D], d: LastSync[D, E], /, **options: Unpack[ChainOptions]
    ) -> ManagedChain[A, E]: ...
    @overload
    def create_chain(
        self,
        a: Step[A, B],
        b: Step[B, C],
        c: Step[C, D],
        d: Step[D, E],
        e: LastStreams[E, F],
        /,
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[A, list[F]]: ...
    @overload
    def create_chain(
        self,
        a: Step[A, B],
        b: Step[B, C],
        c: Step[C, D],
        d: Step[D, E],
        e: LastAsync[E, F],
        /,
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[A, F]: ...
    @overload
    def create_chain(
        self,
        a: Step[A, B],
        b: Step[B, C],
        c: Step[C, D],
        d: Step[D, E],
        e: LastSync[E, F],
        /,
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[A, F]: ...
    @overload
    def create_chain(
        self,
        a: Step[A, B],
        b: Step[B, C],
        c: Step[C, D],
        d: Step[D, E],
        e: Step[E, F],
        f: LastStreams[F, G],
        /,
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[A, list[G]]: ...
    @overload
    def create_chain(
        self,
        a: Step[A, B],
        b: Step[B, C],
        c: Step[C, D],
        d: Step[D, E],
        e: Step[E, F],
        f: LastAsync[F, G],
        /,
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[A, G]: ...
    @overload
    def create_chain(
        self,
        a: Step[A, B],
        b: Step[B, C],
        c: Step[C, D],
        d: Step[D, E],
        e: Step[E, F],
        f: LastSync[F, G],
        /,
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[A, G]: ...
    @overload
    def create_chain(
        self,
        a: Step[Any, Any],
        b: Step[Any, Any],
        c: Step[Any, Any],
        d: Step[Any, Any],
        e: Step[Any, Any],
        f: Step[Any, Any],
        g: Step[Any, Any],
        /,
        *more: Step[Any, Any],
        **options: Unpack[ChainOptions],
    ) -> ManagedChain[Any, Any]: ...
    def create_chain(self, *steps: Any, **options: Unpack[ChainOptions]) -> ManagedChain[Any, Any]:
        """Join steps to a chain, each on the output of the one before, and check it.

        A step is a function of any kind, or something with `invoke`: a chain, a graph, a LangChain runnable. The
        last may stream. For the options see `Options` and `Defaults`. Raises `InvalidGraph` for steps that do not fit
        each other, `InvalidConfig` for options out of range, `InvalidState` when chains are switched off.
        """
        self._refuse_if_off("chains")
        chosen = merged(CHAIN, self._chains, options, ChainOptions)
        blueprint = line_of(steps, options.get("name"), chosen.timeout)
        blueprint.memory = remembered(options.get("memory"), options.get("conversation"))
        made: ManagedChain[Any, Any] = ManagedChain(blueprint, self._running, chosen)
        made.compile()
        self._check_provider(chosen, "chain", options)
        return made

    @overload
    def create_graph(
        self,
        name: str,
        /,
        input: type[I],
        output: type[O],
        **options: Unpack[GraphOptions],
    ) -> ManagedGraph[I, O]: ...
    @overload
    def create_graph(
        self,
        name: str,
        /,
        input: object,
        output: object,
        **options: Unpack[GraphOptions],
    ) -> ManagedGraph[Any, Any]: ...
    @overload
    def create_graph(self, name: str, /, **options: Unpack[GraphOptions]) -> ManagedGraph[Any, Any]: ...
    def create_graph(
        self,
        name: str,
        /,
        input: Any = Any,  # noqa: A002 - the field's name for it
        output: Any = Any,
        **options: Unpack[GraphOptions],
    ) -> ManagedGraph[Any, Any]:
        """A graph to add nodes to, from an input type to a result type; without them, what its handlers say.

        Type checkers know the types of classes; for others, as `str | None`, annotate: `graph: Graph[str, str | None]`.

        For the options see `Options` and `Defaults`. Raises `InvalidGraph` for a bad name, `InvalidConfig` for
        options out of range, `InvalidState` when graphs are switched off.
        """
        self._refuse_if_off("graphs")
        chosen = merged(GRAPH, self._graphs, options, GraphOptions)
        self._check_provider(chosen, "graph", options)
        return ManagedGraph(
            name,
            (input, output),
            self._running,
            chosen,
            memory=options.get("memory"),
            conversation=options.get("conversation"),
        )

    @overload
    def create_workflow(self, made: Work[I, O], /, **options: Unpack[WorkflowTerms]) -> Workflow[I, O]: ...
    @overload
    def create_workflow(self, made: type[Any], /, **options: Unpack[WorkflowTerms]) -> Workflow[Any, Any]: ...
    def create_workflow(
        self, made: Work[Any, Any] | type[Any], /, **options: Unpack[WorkflowTerms]
    ) -> Workflow[Any, Any]:
        """A `Graph(durable=True)`, or a class with `@workflow.defn`, to be executed on a durable engine.

        For the options see `WorkflowOptions`; a graph has its own timeout and retries. Raises `InvalidGraph`,
        `InvalidConfig` for options out of range or what is no workflow, and `InvalidState` when workflows are off.
        """
        self._refuse_if_off("workflows")
        if not isinstance(cast("object", made), Work | type):
            raise InvalidConfig(f"{made!r} is no workflow: give a Graph(durable=True), or a class with @workflow.defn")
        is_graph = isinstance(made, Work)
        chosen = workflow_options(self._workflows, options, is_graph=is_graph)
        if isinstance(made, Work) and not made.durable:
            raise InvalidConfig(
                f"graph {made.name!r} is not durable: make it Graph({made.name!r}, durable=True), or invoke() it"
            )
        self._check_provider(chosen, "workflow", options)
        name = options.get("name") or (made.name if isinstance(made, Work) else made.__name__)
        runner = self._running.providers.workflow(made, chosen)
        return Workflow(name, made, runner, self._running.following, chosen)

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of this orchestrator, with as many workers and as long a queue as its graphs have by default.

        Raises `InvalidState` when it is switched off.
        """
        self._refuse_if_off("scheduler")
        if self._scheduler is None:
            chosen = merged(GRAPH, self._graphs, {}, GraphOptions)
            self._scheduler = Scheduler(max_workers=chosen.max_workers, queue_size=chosen.queue_size)
        return self._scheduler

    @property
    def message_bus(self) -> MessageBus:
        """The message bus of this orchestrator, connected when it is first used.

        Raises `InvalidState` when it is switched off.
        """
        self._refuse_if_off("message_bus")
        if self._bus is None:
            self._bus = self._make_bus()
        return self._bus

    def metrics(self) -> Metrics:
        """What goes on and what has been, since this orchestrator was made."""
        return self._running.metrics()

    async def check(self) -> None:
        """Whether it can work. Raises `InvalidState` when it is closed, and what is wrong with an engine or the bus."""
        await self._running.check_all()
        if self._bus is not None:
            await self._running.checked(self._bus, "the message bus")

    async def aclose(self) -> None:
        """Take no more runs and tasks, stop those that go on (they raise `TaskCanceled`), and close engines and bus."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._running.aclose)
            if self._bus is not None:
                stack.push_async_callback(self._bus.aclose)
            if self._scheduler is not None:
                stack.push_async_callback(self._scheduler.aclose)

    def _refuse_if_off(self, feature: str) -> None:
        """Raises `InvalidState` for a feature that is off, or when closed."""
        self._running.refuse_if_closed()
        if not getattr(self._features, feature):
            raise InvalidState(f"{feature} is switched off: this orchestrator was made with Features({feature}=False)")

    def _check_provider(self, options: Options | WorkflowOptions, kind: str, given: Mapping[str, Any]) -> None:
        """Raises `NotFound` and `InvalidConfig` for an engine that cannot run this, or not as it is given."""
        if self._has_middleware and options.provider != "local":
            raise InvalidConfig(
                f"provider {options.provider!r} runs handlers out of reach of this orchestrator's middleware: "
                f"use provider='local', or an orchestrator without middleware"
            )
        self._running.check_provider(options.provider, kind, given)
