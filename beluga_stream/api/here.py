"""The provider `local`: runs chains and graphs in this process, without a broker."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

from ..application.clients.results import Event
from ..application.execution.execution import Executions
from ..application.execution.middleware import Middleware
from ..application.local.line import Line
from ..application.local.local import LocalEngine
from ..application.local.watched import WatchedExecutions
from ..application.local.workers import Admission, Workers
from ..ports.handlers import Program
from ..ports.spans import Spans
from .features import MOST_WORKERS, Options
from .provider import Signals
from .resource import open_resource
from .signal import dumped
from .work import Work

Watch: TypeAlias = Callable[[str, Admission | None, Options], WatchedExecutions]
"""Makes what runs the handlers of one run, by the name of their spans."""


class LocalProvider:
    """Threads and resources are shared by all that it runs, and let go at `aclose`."""

    kinds = ("chain", "graph")

    def __init__(
        self,
        spans: Spans,
        middleware: Sequence[Middleware] = (),
        *,
        executions: Executions | None = None,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """`now_ms` is the clock that pauses and deadlines go by (default: the system's)."""
        # Threads are made as they are needed; how many at once is for each graph's max_workers to say.
        self._executions = executions or Executions(threads=MOST_WORKERS, open_resource=open_resource)
        self._spans = spans
        self._middleware = middleware
        self._now_ms = now_ms

    def runner(self, work: Work[Any, Any], options: Options, /) -> "LocalRunner":
        return LocalRunner(work, options, self._watched, self._now_ms)

    def _watched(self, span: str, admission: Admission | None, options: Options) -> WatchedExecutions:
        return WatchedExecutions(
            self._executions,
            self._spans,
            span,
            admission=admission,
            parallel=options.parallel,
            middleware=self._middleware,
        )

    async def check(self) -> None:
        """There is nothing that could be away."""

    async def aclose(self) -> None:
        await self._executions.close()


class LocalRunner:
    """Runs one chain or graph here."""

    def __init__(
        self, work: Work[Any, Any], options: Options, watched: Watch, now_ms: Callable[[], int] | None = None
    ) -> None:
        self._work = work
        self._now_ms = now_ms
        self._options = options
        self._watch = watched
        self._workers = Workers(work.name, options.max_workers, options.queue_size)
        self._line: tuple[Program, Line | None] | None = None

    @property
    def ends_in_time(self) -> bool:
        """See `Runner`: one that undoes what it did. Others are as well cancelled from outside."""
        return self._work.compile().definition.undoes

    async def invoke(self, value: Any, /, *, signals: Signals) -> Any:
        program = self._work.compile()
        line = self._line_of(program)
        if line is not None and not signals:
            return await line.invoke(self._watched(program, None), value)
        with self._admitted(program) as admission:
            return await self._engine(program, admission).invoke(program, value, signals=dumped(signals))

    async def stream(self, value: Any, /, *, signals: Signals) -> AsyncGenerator[Event, None]:
        program = self._work.compile()
        with self._admitted(program) as admission:
            events = self._engine(program, admission).stream(program, value, signals=dumped(signals))
            async with aclosing(events):
                async for event in events:
                    yield event

    async def check(self) -> None:
        self._work.compile()

    def _engine(self, program: Program, admission: Admission | None) -> LocalEngine:
        return LocalEngine(executions=lambda: self._watched(program, admission), now_ms=self._now_ms)

    @contextmanager
    def _admitted(self, program: Program) -> Iterator[Admission | None]:
        """A place for the run. A chain needs none: it has one step at work at a time, so only graphs have workers."""
        if program.definition.kind == "chain":
            yield None
            return
        admission = self._workers.admit()
        try:
            yield admission
        finally:
            admission.close()

    def _watched(self, program: Program, admission: Admission | None) -> WatchedExecutions:
        span = "chain.step" if program.definition.kind == "chain" else "graph.node.execute"
        return self._watch(span, admission, self._options)

    def _line_of(self, program: Program) -> Line | None:
        if self._line is None or self._line[0] is not program:
            self._line = (program, Line.of(program))
        return self._line[1]
