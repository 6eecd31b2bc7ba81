"""`Graph`: nodes and edges, typed. What it is told is written down; `compile` checks it and makes it run.

Most of this file is overloads, one for each number of parameters and kind of handler: by them a type checker knows what
a node takes and gives.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar, Unpack, cast, get_args, overload

from ..domain.definition import Join, NodeKind
from ..domain.ids import INPUT
from ..errors import InvalidGraph
from .blueprint import Blueprint, Step
from .building import After, Builder, check_name, check_timeout
from .compile import Compiled, compile_blueprint
from .condition import is_predicate
from .limit import Limits
from .memory import Memory
from .node import NodeOptions
from .ref import Origin, Ref, StreamRef
from .remembering import remembered
from .retry import Seconds, milliseconds
from .runnable import AsyncInvocable
from .signal import Signal
from .stream import Outcome, Stream
from .work import Work

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

START = str(INPUT)
"""The graph's input, as the source of `add_edge` with names."""


class Invocable(Protocol[A_contra, R_co]):
    """An object with `invoke`, as LangChain's are; its `ainvoke` is called instead if it has one."""

    def invoke(self, input: A_contra, /) -> R_co: ...  # noqa: A002 - LangChain's name


class Graph(Work[I, O], Generic[I, O]):
    """A graph of handlers from an input `I` to a result `O`: `Graph[Doc, Report]("stories")`.

    `timeout` bounds a whole run (seconds or timedelta), from when the engine takes it up. `durable=True` runs it on
    Temporal. `limit` says how many of its runs go on at a time, or begin in a period: see `Limit`. Without type
    arguments the types are those of its handlers' annotations. `memory` is loaded before and saved after each run, in
    the conversation that `conversation` gives for its input (docs/memory.md). Built graphs are checked at the first
    `compile`, which `invoke` and every deployment call. Raises `InvalidGraph` for a bad name or timeout,
    `InvalidConfig` for a `memory` that is none.
    """

    def __init__(
        self,
        name: str,
        *,
        durable: bool = False,
        timeout: Seconds = 600,
        limit: Limits = (),
        memory: Memory | None = None,
        conversation: Callable[[I], str] | None = None,
    ) -> None:
        super().__init__(name)
        check_name(name, name, "the graph")
        self._blueprint = Blueprint(name, check_timeout(timeout, name), durable, limit)
        self._blueprint.memory = remembered(memory, conversation)
        self._builder = Builder(self._blueprint)

    @property
    def durable(self) -> bool:
        """Whether its runs live on Temporal."""
        return self._blueprint.durable

    @property
    def input(self) -> Ref[I]:
        """The run's input."""
        return Ref(Origin(self._blueprint, INPUT))

    @overload
    def add_node(
        self,
        handler: Callable[[], AsyncIterator[R] | Iterator[R]],
        /,
        *,
        after: After = (),
        **options: Unpack[NodeOptions],
    ) -> StreamRef[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A], AsyncIterator[R] | Iterator[R]],
        a: Ref[A],
        /,
        *,
        after: After = (),
        **options: Unpack[NodeOptions],
    ) -> StreamRef[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B], AsyncIterator[R] | Iterator[R]],
        a: Ref[A],
        b: Ref[B],
        /,
        *,
        after: After = (),
        **options: Unpack[NodeOptions],
    ) -> StreamRef[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C], AsyncIterator[R] | Iterator[R]],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        /,
        *,
        after: After = (),
        **options: Unpack[NodeOptions],
    ) -> StreamRef[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C, D], AsyncIterator[R] | Iterator[R]],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        d: Ref[D],
        /,
        *,
        after: After = (),
        **options: Unpack[NodeOptions],
    ) -> StreamRef[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C, D, E], AsyncIterator[R] | Iterator[R]],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        d: Ref[D],
        e: Ref[E],
        /,
        *,
        after: After = (),
        **options: Unpack[NodeOptions],
    ) -> StreamRef[R]: ...
    @overload
    def add_node(
        self,
        work: Work[A, R],
        a: Ref[A],
        /,
        *,
        after: After = (),
        compensate: Callable[[A, R], object] | None = None,
        name: str = ...,
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[], Awaitable[R]],
        /,
        *,
        after: After = (),
        fallback: Callable[[], Awaitable[R] | R] | None = None,
        compensate: Callable[[R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A], Awaitable[R]],
        a: Ref[A],
        /,
        *,
        after: After = (),
        fallback: Callable[[A], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B], Awaitable[R]],
        a: Ref[A],
        b: Ref[B],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C], Awaitable[R]],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B, C], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, C, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C, D], Awaitable[R]],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        d: Ref[D],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B, C, D], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, C, D, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C, D, E], Awaitable[R]],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        d: Ref[D],
        e: Ref[E],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B, C, D, E], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, C, D, E, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[], R],
        /,
        *,
        after: After = (),
        fallback: Callable[[], Awaitable[R] | R] | None = None,
        compensate: Callable[[R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A], R],
        a: Ref[A],
        /,
        *,
        after: After = (),
        fallback: Callable[[A], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B], R],
        a: Ref[A],
        b: Ref[B],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C], R],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B, C], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, C, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C, D], R],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        d: Ref[D],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B, C, D], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, C, D, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        handler: Callable[[A, B, C, D, E], R],
        a: Ref[A],
        b: Ref[B],
        c: Ref[C],
        d: Ref[D],
        e: Ref[E],
        /,
        *,
        after: After = (),
        fallback: Callable[[A, B, C, D, E], Awaitable[R] | R] | None = None,
        compensate: Callable[[A, B, C, D, E, R], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self, handler: AsyncInvocable[A, R], a: Ref[A], /, *, after: After = (), **options: Unpack[NodeOptions]
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self, handler: Invocable[A, R], a: Ref[A], /, *, after: After = (), **options: Unpack[NodeOptions]
    ) -> Ref[R]: ...
    @overload
    def add_node(
        self,
        name: str,
        handler: object,
        /,
        *,
        after: After = (),
        fallback: Callable[..., Any] | None = None,
        compensate: Callable[..., Any] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[Any]: ...
    def add_node(
        self,
        handler: Any,
        /,
        *sources: Any,
        after: After = (),
        fallback: Callable[..., Any] | None = None,
        compensate: Callable[..., Any] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[Any]:
        """Add a node that runs a handler on what the references give, bound to its parameters by position.

        If the first argument is a name, draw the edges by `add_edge` (the form for graphs built from data). The
        handler may be a function, async or not, a generator (the node streams), a graph or chain (a child run), or an
        object with `invoke`. Nodes in `after` only have to end before it. `fallback` takes the same arguments, and
        stands in when every attempt has failed. `compensate` takes the arguments and the output, and undoes the node
        when the run fails later. For the options see `NodeOptions`.

        Raises `InvalidGraph` for a name that is taken, and for a handler that cannot be called or whose annotations
        cannot be resolved.
        """
        name = options.get("name")
        if isinstance(handler, str):
            if len(sources) != 1:
                raise self._builder.invalid(handler, "add_node(name, handler) takes one handler; edges follow")
            name, handler, sources = handler, sources[0], ()
        step = self._builder.handled(handler, name, NodeKind.TASK, options, fallback, compensate)
        self._builder.feed(step, sources)
        self._builder.order(step, after)
        origin = Origin(self._blueprint, step.name)
        return StreamRef[Any](origin) if step.kind is NodeKind.STREAM else Ref(origin)

    @overload
    def add_map(
        self,
        work: Work[A, R],
        items: Ref[Iterable[A]] | Ref[Stream[A]],
        /,
        *,
        max_parallel: int = 64,
        after: After = (),
        name: str = ...,
    ) -> Ref[list[R]]: ...
    @overload
    def add_map(
        self,
        handler: Callable[[A], Awaitable[R]],
        items: Ref[Iterable[A]] | Ref[Stream[A]],
        /,
        *,
        max_parallel: int = 64,
        after: After = (),
        fallback: Callable[[A], Awaitable[R] | R] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[list[R]]: ...
    @overload
    def add_map(
        self,
        handler: Callable[[A], R],
        items: Ref[Iterable[A]] | Ref[Stream[A]],
        /,
        *,
        max_parallel: int = 64,
        after: After = (),
        fallback: Callable[[A], Awaitable[R] | R] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[list[R]]: ...
    def add_map(
        self,
        handler: Any,
        items: Ref[Any],
        /,
        *,
        max_parallel: int = 64,
        after: After = (),
        fallback: Callable[..., Any] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[Any]:
        """Run a handler or graph once for each item of a list; the results keep the items' order.

        Over `ref.stream` it runs for each chunk of a streaming node, as soon as the chunk is there. At most
        `max_parallel` items run at once. `fallback` takes an item, and stands in for it alone when every attempt has
        failed. Raises `InvalidGraph` as `add_node` does.
        """
        step = self._builder.handled(handler, options.get("name"), NodeKind.MAP, options, fallback)
        step.max_parallel = self._builder.counted(step.name, "max_parallel", max_parallel)
        self._builder.feed(step, [items])
        self._builder.order(step, after)
        return Ref(Origin(self._blueprint, step.name))

    @overload
    def add_loop(
        self,
        body: Work[A, A],
        start: Ref[A],
        /,
        *,
        until: Callable[[A], bool],
        max_passes: int,
        after: After = (),
        name: str = ...,
    ) -> Ref[A]: ...
    @overload
    def add_loop(
        self,
        body: Callable[[A], Awaitable[A]],
        start: Ref[A],
        /,
        *,
        until: Callable[[A], bool],
        max_passes: int,
        after: After = (),
        fallback: Callable[[A], Awaitable[A] | A] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[A]: ...
    @overload
    def add_loop(
        self,
        body: Callable[[A], A],
        start: Ref[A],
        /,
        *,
        until: Callable[[A], bool],
        max_passes: int,
        after: After = (),
        fallback: Callable[[A], Awaitable[A] | A] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[A]: ...
    def add_loop(
        self,
        body: Any,
        start: Ref[Any],
        /,
        *,
        until: Callable[[Any], bool],
        max_passes: int,
        after: After = (),
        fallback: Callable[..., Any] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Ref[Any]:
        """Run a handler or graph again and again, first on `start`, then on its output, until `until` holds for that.

        If it does not hold after `max_passes`, the node fails. `fallback` stands in for a pass that has failed.
        Raises `InvalidGraph` as `add_node` does.
        """
        step = self._builder.handled(body, options.get("name"), NodeKind.LOOP, options, fallback)
        if not is_predicate(until):
            raise self._builder.invalid(step.name, f"until={until!r} is no function of the output, or async")
        step.until, step.max_passes = until, self._builder.counted(step.name, "max_passes", max_passes)
        self._builder.feed(step, [start])
        self._builder.order(step, after)
        return Ref(Origin(self._blueprint, step.name))

    def add_edge(
        self,
        source: Ref[Any] | str,
        target: Ref[Any] | str,
        /,
        *,
        into: str | None = None,
        when: Callable[[Any], bool] | None = None,
    ) -> Self:
        """Draw an edge from one node to another. The graph's input is `START`.

        It feeds the parameter `into` of the target's handler. Without `into` that is the only parameter, else the one
        that is named like the source, else the only one without a default. `when` is a condition on the source's
        output, as in `Ref.when`. `compile` raises what is wrong with the edge.
        """
        self._builder.link(source, target, into=into, when=when)
        return self

    def set_entry_point(self, *nodes: Ref[Any] | str) -> Self:
        """Feed these nodes with the graph's input: `add_edge(START, node)` for each."""
        for node in nodes:
            self._builder.link(START, node)
        return self

    @overload
    def set_finish_point(self, node: Ref[O] | str, /) -> Self: ...
    @overload
    def set_finish_point(self, node: Ref[Any] | str, other: Ref[Any] | str, /, *more: Ref[Any] | str) -> Self: ...
    def set_finish_point(self, *nodes: Ref[Any] | str) -> Self:
        """Make a node's output the result. Several, in one call or more, give a mapping by node name."""
        for node in nodes:
            name = self._builder.name(node)
            if name == INPUT:
                raise self._builder.invalid(name, "the input cannot be the finish: add a node")
            if name not in self._blueprint.finish:
                self._blueprint.finish.append(name)
                self._blueprint.version += 1
        return self

    @overload
    def first(self, a: Ref[A], b: Ref[B], /, *, name: str | None = None) -> Ref[A | B]: ...
    @overload
    def first(self, a: Ref[A], b: Ref[B], c: Ref[C], /, *, name: str | None = None) -> Ref[A | B | C]: ...
    @overload
    def first(
        self, a: Ref[A], b: Ref[B], c: Ref[C], d: Ref[D], /, *, name: str | None = None
    ) -> Ref[A | B | C | D]: ...
    @overload
    def first(self, *refs: Ref[A], name: str | None = None) -> Ref[A]: ...
    def first(self, *refs: Ref[Any], name: str | None = None) -> Ref[Any]:
        """Whichever of these outputs comes first: branches join here. What nobody else needs is cancelled."""
        return self._select(Join.FIRST, refs, name or _joined("first", refs))

    def n_of(self, count: int, /, *refs: Ref[A], name: str | None = None) -> Ref[list[A]]:
        """The first `count` outputs, in the order of the references; what nobody else needs is cancelled."""
        if not 1 <= count <= len(refs):
            raise InvalidGraph(
                f"graph {self.name!r}: n_of({count}) over {len(refs)} references: give 1 to {len(refs)}",
                graph=self.name,
            )
        return self._select(Join.N_OF, refs, name or _joined(f"{count}_of", refs), count=count)

    def all_done(self, *refs: Ref[A], name: str | None = None) -> Ref[list[Outcome[A]]]:
        """How each of these nodes ended, once all have. That one of them fails does not fail the run."""
        outcomes = [ref.outcome for ref in refs]
        return cast("Ref[list[Outcome[A]]]", self._select(Join.ALL, outcomes, name or _joined("done", refs)))

    def wait(
        self,
        signal: Signal[R],
        /,
        *,
        after: After = (),
        timeout: Seconds,
        remind: Seconds | None = None,
        name: str | None = None,
    ) -> Ref[R]:
        """Wait for a signal to the run; its value is the output. Holds no worker. Is named like the signal.

        The wait fails after `timeout`. After `remind` the run's readers are told once that it still waits. Both are
        seconds or a timedelta. A signal that came before the wait began is kept for it.
        """
        if not isinstance(cast("object", signal), Signal):
            raise self._builder.invalid(name or "wait", f"{signal!r} is no Signal: give Signal(name, its type)")
        step = Step(name or signal.name, NodeKind.WAIT, signal=signal, timeout_ms=milliseconds(timeout))
        step.remind_ms = None if remind is None else milliseconds(remind)
        if milliseconds(timeout) <= 0 or (step.remind_ms is not None and step.remind_ms <= 0):
            raise self._builder.invalid(step.name, f"timeout={timeout}, remind={remind} must be above 0 seconds")
        return self._ordered(step, after)

    def sleep(self, duration: Seconds, /, *, after: After = (), name: str = "sleep") -> Ref[None]:
        """A pause (seconds or timedelta). Holds no worker. Nodes that are to wait for it come `after` it."""
        if milliseconds(duration) <= 0:
            raise self._builder.invalid(name, f"sleep({duration}) must be above 0 seconds")
        return self._ordered(Step(name, NodeKind.SLEEP, timeout_ms=milliseconds(duration)), after)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self._blueprint.steps)} nodes>"

    def _select(self, join: Join, refs: Sequence[Ref[Any]], name: str, count: int = 1) -> Ref[Any]:
        step = self._builder.add(Step(name, NodeKind.SELECT, join=join, count=count))
        self._builder.feed(step, refs)
        return Ref(Origin(self._blueprint, step.name))

    def _ordered(self, step: Step, after: After) -> Ref[Any]:
        self._builder.add(step)
        self._builder.order(step, after if isinstance(after, Ref) or after else self.input)
        return Ref(Origin(self._blueprint, step.name))

    def _stamp(self) -> object:
        children = [step.work.compile() for step in self._blueprint.steps.values() if step.work is not None]
        return (self._blueprint.version, self._declared_kinds(), *map(id, children))

    def _compile(self) -> Compiled:
        return compile_blueprint(self._blueprint, *self._declared_kinds())

    def _declared_kinds(self) -> tuple[Any, Any]:
        """The types in `Graph[I, O](...)`; typing sets them after `__init__`. None where there are none."""
        kinds = get_args(getattr(self, "__orig_class__", None))
        if not kinds:
            return None, None
        given, result = (None if isinstance(kind, TypeVar) else type(None) if kind is None else kind for kind in kinds)
        return given, result


def _joined(word: str, refs: Sequence[Ref[Any]]) -> str:
    return "_".join((word, *dict.fromkeys(ref.node for ref in refs)))
