"""A plain function may give something to await: it is awaited in the event loop, as a part of the same execution."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest

from beluga_stream import Cache, Graph, Retry, chain, context, node
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.local.line import Line
from beluga_stream.application.local.watched import WatchedExecutions
from beluga_stream.errors import RunFailed
from beluga_stream.ports.spans import HERE, Facts, NoSpans, Of, Span

open_span: contextvars.ContextVar[str] = contextvars.ContextVar("open_span", default="none")


class NamedSpans(NoSpans):
    """Notes which spans are over; inside of one, `open_span` is its node."""

    def __init__(self) -> None:
        self.over: list[str] = []

    @contextlib.contextmanager
    def span(self, name: str, attributes: Facts, *, parental: bool = True, of: Of = HERE) -> Iterator[Span]:
        token = open_span.set(str(attributes["node"]))
        try:
            with super().span(name, attributes) as span:
                yield span
        finally:
            open_span.reset(token)
            self.over.append(str(attributes["node"]))


@pytest.fixture
async def executions() -> AsyncIterator[Executions]:
    shared = Executions()
    yield shared
    await shared.close()


def line_of(*steps: Any) -> Line:
    line = Line.of(chain(*steps).compile())
    assert line is not None
    return line


def double(number: int) -> int:
    return number * 2


async def where(number: int) -> str:
    await asyncio.sleep(0)
    here = threading.current_thread() is threading.main_thread()
    return f"{number} {context().node} {open_span.get()} {here}"


def whereabouts(number: int):  # type: ignore[no-untyped-def]  # noqa: ANN201 - nothing tells that it is async
    assert threading.current_thread() is not threading.main_thread()
    return where(number)


async def test_it_is_awaited_in_the_loop_within_the_span_and_context_of_its_node(executions: Executions) -> None:
    spans = NamedSpans()
    line = line_of(double, whereabouts, str.title)
    assert await line.invoke(WatchedExecutions(executions, spans, "chain.step"), 1) == (
        "2 Whereabouts Whereabouts True"
    )
    assert spans.over == ["double", "whereabouts", "title"]
    assert open_span.get() == "none"


async def test_what_is_awaited_ends_with_whoever_waits_for_it(executions: Executions) -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    seen: list[bool] = []

    async def long(number: int) -> int:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(context().node == "call")
            ended.set()
        return number

    def call(number: int) -> Any:
        return long(number)

    spans = NamedSpans()
    task = asyncio.create_task(line_of(double, call).invoke(WatchedExecutions(executions, spans, "chain.step"), 1))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ended.is_set(), seen, spans.over) == (True, [True], ["double", "call"])
    assert len(asyncio.all_tasks()) == 1


async def test_a_stretch_that_never_had_a_thread_leaves_nothing_behind() -> None:
    shared = Executions(threads=1)
    began, go_on = threading.Event(), threading.Event()

    def hold(number: int) -> int:
        began.set()
        assert go_on.wait(10)
        return number

    def begin() -> "asyncio.Task[Any]":
        return asyncio.create_task(line_of(hold).invoke(WatchedExecutions(shared, NoSpans(), "chain.step"), 1))

    try:
        first = begin()
        assert await asyncio.to_thread(began.wait, 10)
        second = begin()
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        assert await first == 1
    finally:
        await shared.close()


async def test_chains_within_steps_need_no_more_threads_than_there_are() -> None:
    shared = Executions(threads=1)
    inner = line_of(double, double)

    def nested(number: int) -> Any:
        return inner.invoke(WatchedExecutions(shared, NoSpans(), "chain.step"), number)

    try:
        assert await line_of(double, nested, double).invoke(WatchedExecutions(shared, NoSpans(), "chain.step"), 1) == 16
    finally:
        await shared.close()


async def test_an_annotation_may_leave_open_whether_it_is_awaited() -> None:
    async def fetch(number: int) -> int:
        return number + 1

    class Model:
        def invoke(self, number: int) -> Awaitable[int] | int:
            return fetch(number) if number > 1 else number

    graph = Graph[int, int]("open")
    graph.set_finish_point(graph.add_node(Model(), graph.input))
    assert [await graph.invoke(number) for number in (1, 2)] == [1, 3]


async def test_graphs_and_caches_take_it_as_chains_do() -> None:
    async def fetch(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    def kept(number: int) -> Any:
        return fetch(number)

    cache = Cache(60)
    graph = Graph[int, int]("awaits")
    first = graph.add_node(kept, graph.input, cache=cache)
    second = graph.add_node(lambda number: fetch(number * 2), first, name="second")
    graph.set_finish_point(
        graph.add_node(node(executor="async")(lambda number: fetch(number * 2)), second, name="third")
    )
    assert [await graph.invoke(1) for _ in range(2)] == [11, 11]
    assert cache.hits == 1


async def later(number: int) -> int:
    return number


async def one_by_one(number: int) -> AsyncIterator[int]:
    yield number


async def forgets(number: int) -> int:
    return later(number)  # type: ignore[return-value]  # the mistake


async def forgets_untyped(number: int) -> Any:
    return later(number)


async def forgets_to_yield(number: int) -> Any:
    return one_by_one(number)


@pytest.mark.parametrize(
    ("forgetful", "told"),
    [
        (forgets, "valid integer, and it is yet to be awaited: is an `await` missing?"),
        (forgets_untyped, "'coroutine'>, and it is yet to be awaited: is an `await` missing?"),
        (forgets_to_yield, "and it is a generator: yield its items, or return a list of them"),
    ],
)
async def test_what_an_async_function_returns_unawaited_is_told_as_such(forgetful: Any, told: str) -> None:
    graph = Graph[int, Any]("forgetful")
    graph.set_finish_point(graph.add_node(forgetful, graph.input, retry=Retry(1)))
    with pytest.raises(RunFailed) as failed:
        await graph.invoke(1)
    assert told in str(failed.value)
