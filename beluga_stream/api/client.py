"""`Client` and `Run`: start graphs on the engine and follow them, typed by the graphs themselves."""

import builtins
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from pydantic import TypeAdapter

from ..application.clients.answer import Asked
from ..application.clients.desk import Desk
from ..application.clients.results import Chunk, Event
from ..application.execution.conversion import declared_result, json_of
from ..application.messages import Summary
from ..application.requests import check_labels
from ..domain.definition import EdgeMode, NodeKind
from ..domain.ids import API, NodeKey, NodeName, RunId, run_id
from ..domain.payload import Inline, Json
from ..errors import InvalidInput, InvalidState, NotFound
from ..ports.handlers import Program
from .ranges import YEAR_SECONDS, check_duration
from .ref import Ref, StreamRef
from .retry import Seconds, milliseconds, seconds
from .signal import Signal
from .topic import Topic
from .work import Work

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
R = TypeVar("R")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
AS_IT_WAS: Any = object()
"""Stands for the input of a node that nobody edits."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands, from its newest summary. Times in epoch milliseconds."""

    id: str
    graph: str
    status: str
    started_ms: int
    ended_ms: int | None
    tags: Mapping[str, str]
    error: str | None
    parent: str | None = None
    forked_from: str | None = None


class Run(Generic[T_co]):
    """One run on the engine. Get it from `Client.start` or `Client.run`."""

    def __init__(
        self,
        desk: Callable[[], Desk],
        id: str,  # noqa: A002 - a run's id
        work: Work[Any, T_co] | None,
        asked: Asked | None = None,
    ) -> None:
        self.id = id
        self._desk = desk
        self._work = work
        self._asked = asked
        """What this start asked for: another one by this client may give its key with another input."""

    @property
    def _runs(self) -> Desk:
        """Where it is asked for. Raises `InvalidState` when the client is closed."""
        return self._desk()

    async def result(self, *, timeout: Seconds | None = None) -> T_co:  # noqa: ASYNC109 - the field's name for it
        """Wait for the run's output.

        `timeout` in seconds or as a timedelta. Raises `RunFailed`, `RunRejected`, `TaskCanceled` when the run
        ended so, and `TimedOut` when it goes on.
        """
        limit = None if timeout is None else seconds(timeout)
        value = await self._runs.result(RunId(self.id), timeout_seconds=limit, asked=self._asked)
        result: T_co = value if self._work is None else declared_result(self._work.compile(), value)
        return result

    async def stream(self, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Everything that happens in the run, up to its end: from its beginning, or after an event's cursor.

        The stream of a start that was refused ends with `StartRejected`. `after="live"` gives only what is new. Raises
        `Expired` for what retention has removed, and `InvalidInput` for what is no cursor of this run.
        """
        async with contextlib.aclosing(self._runs.follow(RunId(self.id), after=after, asked=self._asked)) as events:
            async for event in events:
                yield event

    async def chunks(self, node: StreamRef[C], *, after: str | None = None) -> AsyncGenerator[C, None]:
        """The chunks of one streaming node, typed.

        When another incarnation takes over, its chunks follow from its first one: read `stream()` to see where.
        """
        async with contextlib.aclosing(self._runs.follow(RunId(self.id), after=after, asked=self._asked)) as events:
            async for event in events:
                if isinstance(event, Chunk) and event.node == node.node:
                    yield self._chunk_adapter(node).validate_python(event.value)

    async def outputs(self, node: Ref[R]) -> R:
        """What one node gave; waits for it. Raises `NotFound` when the run ended without it."""
        value = await self._runs.outputs(RunId(self.id), node.node, asked=self._asked)
        program = None if self._work is None else self._work.compile()
        handler = None if program is None else program.handlers.get(NodeName(NodeKey(node.node)))
        if handler is None or handler.streams:
            return value  # type: ignore[no-any-return]  # without code there is no type to check
        if program is not None and kind_of(program, node.node) is NodeKind.MAP:
            return [handler.output.validate_python(item) for item in value]  # type: ignore[return-value]  # R is a list
        result: R = handler.output.validate_python(value)
        return result

    async def status(self) -> RunStatus:
        """Where it stands, by the list of runs, which follows its stream a moment later.

        Raises `NotFound` for a run nobody knows (yet).
        """
        summary = await self._runs.summary(RunId(self.id))
        if summary is None:
            raise NotFound(f"there is no run {self.id} (yet)", run=self.id)
        return status_of(summary)

    async def cancel(self, reason: str = "") -> None:
        """Ask for the run's end; nothing is dispatched after it. Returns once the request is durable."""
        await self._runs.cancel(RunId(self.id), reason)

    async def retry(self) -> None:
        """Let a failed run go on from its failed nodes, under the same id.

        Raises `InvalidState` for one that cannot go on, `Expired` for one that failed too long ago.
        """
        await self._runs.retry(RunId(self.id))

    async def override(
        self,
        node: Ref[Any] | str,
        *,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - the node's, no wait's
        attempts: int | None = None,
    ) -> None:
        """Give a node of this run another timeout or number of attempts than its definition says.

        The run goes on, or has failed and may be retried: `await run.override(node, timeout=600)`, then `run.retry()`.
        An attempt that is under way keeps its timeout; the next one has the new. `attempts` counts the first one too,
        and holds for an attempt under way: when it fails, the new number decides whether there is another. Each item of
        a map, each pass of a loop, the node's fallback and its compensation have these. An override replaces an
        earlier one of the node: what is left out is as the definition has it. Returns once the request is durable.

        Raises `NotFound` for an unknown run or node; `InvalidState` for a run that has ended and cannot go on, or is
        durable; `Expired` for one that failed too long ago; `InvalidInput` for values out of range, or neither, and for
        a node without a handler of its own (a subgraph's nodes are those of the child run).
        """
        name = node if isinstance(node, str) else node.node
        limit = None if timeout is None else milliseconds(timeout)
        await self._runs.override(RunId(self.id), name, timeout_ms=limit, attempts=attempts)

    async def fork(
        self,
        from_node: Ref[Any] | str,
        *,
        input: object = AS_IT_WAS,  # noqa: A002 - the field's name for it
        idempotency_key: str | None = None,
    ) -> "Run[T_co]":
        """Start a new run of the same graph that goes on from this one at a node; this one stays as it is.

        What comes before the node is taken over with its outputs, and so is what has ended beside it; the node and
        what follows run anew. `input` is what the node is given instead of what it was: the value of its parameter, or
        of several a mapping with some of them by name. The same `idempotency_key` is the same fork.

        Raises `NotFound` for an unknown run or node, `Expired` for a run that is kept no longer, `InvalidState` when
        the run cannot be forked there (what the node needs has not succeeded, or the graph has changed, is durable or
        was undone), and `InvalidInput` for an input that the node does not take.
        """
        check_labels(idempotency_key)
        node = from_node if isinstance(from_node, str) else from_node.node
        edited = None if input is AS_IT_WAS else Inline(self._edited(node, input))
        run = await self._runs.fork(RunId(self.id), node, edited=edited, idempotency_key=idempotency_key)
        return Run(self._desk, str(run), self._work, self._runs.asked(run))

    def _edited(self, node: str, value: object) -> Json:
        """An edited input as JSON, checked where the node's code is at hand."""
        program = None if self._work is None else self._work.compile()
        handler = None if program is None else program.handlers.get(NodeName(NodeKey(node)))
        # What a graph takes in a node's place is not what the function takes that ends its pass.
        if program is None or handler is None or starts_graph(program, node):
            return json_of(_ANY, value, f"the input of node {node!r}")
        types = {each.name: each.adapter if each.mode is EdgeMode.VALUE else _ANY for each in handler.parameters}
        is_list = kind_of(program, node) is NodeKind.MAP
        if len(types) == 1:
            ((name, adapter),) = types.items()
            return _edit(adapter, value, f"{name!r} of node {node!r}", is_list=is_list)
        if not isinstance(value, Mapping) or not value.keys() <= types.keys():
            raise InvalidInput(f"node {node!r} takes a mapping with some of {', '.join(types)}", node=node)
        first = next(iter(types), None)
        return {
            name: _edit(types[name], each, f"{name!r} of node {node!r}", is_list=is_list and name == first)
            for name, each in value.items()
        }

    async def signal(self, signal: Signal[R], value: R, *, id: str | None = None) -> None:  # noqa: A002 - its name everywhere
        """Send a signal; the same `id` twice is one signal. Raises `InvalidInput` for a value of another type."""
        await self._runs.signal(RunId(self.id), signal.name, signal.dump(value), id=id)

    def _chunk_adapter(self, node: StreamRef[C]) -> TypeAdapter[C]:
        program = None if self._work is None else self._work.compile()
        handler = None if program is None else program.handlers.get(NodeName(NodeKey(node.node)))
        return _ANY if handler is None else handler.output


class Client:
    """Starts and follows runs. Use it with `async with`; `connect()` makes it."""

    def __init__(self, opener: Callable[[], AbstractAsyncContextManager[Desk]]) -> None:
        self._opener = opener
        self._opened: AbstractAsyncContextManager[Desk] | None = None
        self._runs: Desk | None = None

    async def __aenter__(self) -> Self:
        self._opened = self._opener()
        self._runs = await self._opened.__aenter__()
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        opened, self._opened, self._runs = self._opened, None, None
        if opened is not None:
            await opened.__aexit__(a, b, c)

    @overload
    async def start(
        self,
        graph: Work[I, O],
        input: I,
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - the run's, and no wait's
    ) -> Run[O]: ...
    @overload
    async def start(
        self,
        graph: str,
        input: object,
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - the run's, and no wait's
    ) -> Run[Any]: ...
    async def start(
        self,
        graph: Work[Any, Any] | str,
        input: Any,  # noqa: A002 - the field's name for it
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - the run's, and no wait's
    ) -> Run[Any]:
        """Request a run; returns once the request is durable. The same `idempotency_key` is the same run.

        `timeout` (seconds or a timedelta) is how long the run may take, if its graph does not allow less. It fails
        then, and is undone, whether anybody waits for it or not. Of starts with one key the first one's timeout holds.

        Raises `InvalidInput` here for a value that is not the graph's input, for a key or tags that are no text, and
        for a start that is too large; `InvalidConfig` for a timeout out of range. What the engine refuses (an unknown
        graph, the key with another payload) is raised by `result()` as `RunRejected`.
        """
        check_labels(idempotency_key, tags)
        work = None if isinstance(graph, str) else graph
        name = graph if isinstance(graph, str) else graph.name
        json = json_of(_ANY if work is None else work.compile().input, input, f"the input of {name!r}")
        run = await self._desk().start(
            name, json, idempotency_key=idempotency_key, tags=tags, timeout_ms=_allowed_ms(timeout)
        )
        return Run(self._desk, str(run), work, self._desk().asked(run))

    @overload
    def run(self, graph: Work[Any, O], id: str) -> Run[O]: ...
    @overload
    def run(self, graph: Work[Any, O], *, idempotency_key: str, topic: Topic[Any] | None = None) -> Run[O]: ...
    def run(
        self,
        graph: Work[Any, O],
        id: str | None = None,  # noqa: A002 - a run's id
        *,
        idempotency_key: str | None = None,
        topic: Topic[Any] | None = None,
    ) -> Run[O]:
        """A run that somebody has started, by its id, or by the key that it was started with: nothing is looked up.

        With `topic` it is the run that an event started, where the trigger of that topic has an `idempotency_key`.
        Raises `InvalidState` when the client is not open, and `InvalidInput` for neither id nor key, or both.
        """
        self._desk()
        check_labels(idempotency_key, None)
        if (id is None) is (idempotency_key is None):
            raise InvalidInput("a run is known by its id, or by the idempotency_key that it was started with: give one")
        if idempotency_key is not None:
            id = run_id(graph.name, API if topic is None else topic.name, idempotency_key)  # noqa: A001 - a run's id
        return Run(self._desk, str(id), graph)

    async def list(
        self,
        *,
        graph: str | None = None,
        status: str | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> builtins.list[RunStatus]:  # `list` is this method, to whoever reads the annotation later
        """The runs that are remembered, oldest first: those of a graph, status, tags or parent (a run's id) only."""
        wanted = dict(tags or {})
        return [
            status_of(summary)
            for summary in await self._desk().summaries()
            if graph in (None, summary.graph)
            and status in (None, summary.status)
            and parent in (None, summary.parent)
            and wanted.items() <= dict(summary.tags).items()
        ]

    def _desk(self) -> Desk:
        if self._runs is None:
            raise InvalidState(
                "the client is not connected: use it, and its runs, inside `async with connect() as beluga`"
            )
        return self._runs


def kind_of(program: Program, node: str) -> NodeKind:
    """How a node of a graph comes to its output."""
    return next(each.kind for each in program.definition.nodes if each.name == node)


def starts_graph(program: Program, node: str) -> bool:
    """Whether a node of a graph is, or goes over, another graph."""
    return any(each.name == node and each.child is not None for each in program.definition.nodes)


def status_of(summary: Summary) -> RunStatus:
    """A summary as users see it."""
    return RunStatus(
        id=str(summary.run),
        graph=summary.graph,
        status=summary.status,
        started_ms=summary.started_ms,
        ended_ms=summary.ended_ms,
        tags=dict(summary.tags),
        error=None if summary.failure is None else summary.failure.message,
        parent=summary.parent,
        forked_from=summary.forked_from,
    )


def _allowed_ms(timeout: Seconds | None) -> int | None:
    """How long a run may take. Raises `InvalidConfig`."""
    if timeout is None:
        return None
    check_duration("start", "timeout", timeout, most_seconds=YEAR_SECONDS)
    return milliseconds(timeout)


def _edit(adapter: TypeAdapter[Any], value: Any, what: str, *, is_list: bool) -> Json:
    """One edited parameter; a map's first takes the list of what its handler takes."""
    if not is_list:
        return json_of(adapter, value, what)
    if not isinstance(value, list | tuple):
        raise InvalidInput(f"{what} fails its type: a map goes over a list")
    return [json_of(adapter, each, f"item {index} of {what}") for index, each in enumerate(value)]
