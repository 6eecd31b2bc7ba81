"""`Workflow`: a durable graph, or a workflow class of a user's, as something to execute, ask, change and end."""

import secrets
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from pydantic import TypeAdapter

from ..application.execution.conversion import json_of
from ..errors import InvalidInput, TimedOut
from ..ports.handlers import Program
from ..ports.workflow_runner import NO_VALUE, Description, Started, WorkflowRunner
from .features import WorkflowOptions
from .retry import Seconds, seconds
from .signal import Signal
from .work import Work
from .workflows import Following

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
S = TypeVar("S")
R = TypeVar("R")

Which: TypeAlias = Started | str
"""A workflow: what `execute` returned, or its id alone (the latest execution of that)."""


class Workflow(Generic[I, O]):
    """Made by `Orchestrator.create_workflow`. Its methods raise `TemporalUnavailable` when nobody answers in time.

    A worker has to serve its task queue: see `temporal_worker`.
    """

    def __init__(
        self,
        name: str,
        of: Work[I, O] | type[Any],
        runner: WorkflowRunner,
        following: Following,
        options: WorkflowOptions,
    ) -> None:
        self._name = name
        self._of = of
        self._runner = runner
        self._following = following
        self._options = options

    @property
    def name(self) -> str:
        """What metrics and spans call it."""
        return self._name

    @property
    def options(self) -> WorkflowOptions:
        """How it runs."""
        return self._options

    @property
    def description(self) -> str:
        """What it is for, in its maker's words."""
        return self._options.description

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is kept with each of its workflows."""
        return self._options.metadata

    async def execute(self, input: I, /, *, id: str | None = None) -> Started:  # noqa: A002 - the field's names
        """Begin one, and return its ids at once. `id` (default: a random one) can be used once.

        Raises `InvalidInput` for an input that fails its type, or an id that is no text or empty, and `InvalidState`
        for one that is taken. After `TemporalUnavailable` it may have begun all the same: with an `id` of yours it can
        be executed again, and begins once.
        """
        chosen = _encodable(secrets.token_hex(16) if id is None else id)
        return await self._following.executed(self._name, self._runner, lambda: self._runner.start(input, chosen))

    async def get_result(self, which: Which, /, *, timeout: Seconds | None = None) -> O:  # noqa: ASYNC109 - the field's name for it
        """Wait for its end, at most so long (seconds or timedelta), and return its result.

        Raises `RunFailed`, `TaskCanceled` (also for one that was terminated), `TimedOut` when it took too long or does
        not end within `timeout` (then it goes on), `CodeMissing` when it stands still until other code is deployed, and
        `NotFound`.
        """
        started = _started(which)
        with self._following.span("get_result", self._name):
            waiting = self._runner.result(started)
            result: O = await self._within(timeout, waiting, started, f"workflow {started.workflow_id} did not end")
            return result

    async def signal(self, which: Which, signal: Signal[S] | str, /, value: S | None = NO_VALUE) -> None:
        """Send a signal; one that a graph waits for is checked by its type, also when only its name is given.

        None is a value, too: a class's handler that takes none is signalled without. Raises `InvalidInput` for a value
        that the graph, or the class's handler, does not take, and `NotFound` for a workflow that has ended or is
        unknown, or for a signal that no wait of its graph takes. After `TemporalUnavailable` it may have arrived all
        the same.
        """
        given = None if value is NO_VALUE else value
        if isinstance(signal, str):
            name, content = signal, self._content(signal, given)
        else:
            name, content = signal.name, signal.dump(given)
        if value is NO_VALUE and not isinstance(self._of, Work):
            content = NO_VALUE
        with self._following.span("signal", self._name):
            await self._following.bounded(self._runner.signal(_started(which), name, content))

    async def query(self, which: Which, query: str = "state", /, *arguments: Any) -> Any:
        """Ask it something. A graph answers `state`: how its nodes stand, and what each waits for.

        Raises `NotFound` for an unknown workflow or query, `ExecutionFailed` for a query that raises, and `CodeMissing`
        for a workflow that stands still until other code is deployed.
        """
        with self._following.span("query", self._name):
            return await self._following.bounded(self._runner.query(_started(which), query, arguments))

    async def update(
        self,
        which: Which,
        update: str,
        /,
        *arguments: Any,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - the field's name for it
        id: str | None = None,  # noqa: A002 - the field's name for it
    ) -> Any:
        """Change it, and return what its update handler answers; graphs have none. Raises as `query`.

        It waits for the answer at most so long, then it raises `TimedOut`, and the update goes on. After that, or
        `TemporalUnavailable`, it can be asked for again with the same `id`: it is done once, and answers the same.
        """
        started, given = _started(which), () if id is None else (id,)
        with self._following.span("update", self._name):
            asked = self._runner.update(started, update, arguments, *given)
            told = f"update {update!r} of workflow {started.workflow_id} was not answered"
            return await self._within(timeout, asked, started, told)

    async def cancel(self, which: Which, /, reason: str = "") -> None:
        """Ask it to end; a graph stops its nodes, a class may clean up. Raises `NotFound` for one that has ended.

        Its handlers learn of it by their next heartbeat, within seconds; a plain function runs to its end.
        """
        with self._following.span("cancel", self._name):
            await self._following.bounded(self._runner.cancel(_started(which), reason))

    async def terminate(self, which: Which, /, reason: str = "") -> None:
        """End it at once, with no chance to clean up. Raises `NotFound` for one that has ended.

        Its handlers learn of it by their next heartbeat, within seconds; a plain function runs to its end.
        """
        with self._following.span("terminate", self._name):
            await self._following.bounded(self._runner.terminate(_started(which), reason))

    async def describe(self, which: Which, /) -> Description:
        """How it stands. Raises `NotFound`."""
        return await self._following.bounded(self._runner.describe(_started(which)))

    async def check(self) -> None:
        """Whether it could run now. Raises `InvalidGraph`, or what is wrong with its engine."""
        if isinstance(self._of, Work):
            self._of.compile()
        await self._following.bounded(self._runner.check())

    def _content(self, signal: str, value: object) -> Any:
        """The value as JSON, by the type of a signal that the graph or one inside of it waits for.

        What none of them knows passes: the workflow may have begun with an earlier graph.
        """
        refused: InvalidInput | None = None
        for kind in _kinds(self._of.compile(), signal) if isinstance(self._of, Work) else ():
            try:
                return json_of(kind, value, f"signal {signal!r}")
            except InvalidInput as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return value

    async def _within(self, limit: Seconds | None, asked: Awaitable[R], started: Started, told: str) -> R:
        """The answer. Raises `TimedOut` when it does not come in time: then what was asked for goes on."""
        most = None if limit is None else seconds(limit)
        try:
            return await self._following.bounded(asked, most)
        except TimeoutError as error:
            if isinstance(error, TimedOut):
                raise
            raise TimedOut(f"{told} within {most:g} s; it goes on", workflow=started.workflow_id) from error

    def __repr__(self) -> str:
        return f"<workflow {self._name!r}>"


def _started(which: Which) -> Started:
    return Started(_encodable(which)) if isinstance(which, str) else which


def _encodable(workflow_id: str) -> str:
    """The id. Raises `InvalidInput` for one that no engine could be told."""
    if not workflow_id:
        raise InvalidInput(
            f"{workflow_id!r} is no id for a workflow: who has none of their own leaves it out of execute()"
        )
    try:
        workflow_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{workflow_id!r} is no id for a workflow: it has half a letter (a lone surrogate)"
        ) from error
    return workflow_id


def _kinds(program: Program, signal: str) -> Iterator[TypeAdapter[Any]]:
    if signal in program.signals:
        yield program.signals[signal]
    for child in program.children.values():
        yield from _kinds(child, signal)
