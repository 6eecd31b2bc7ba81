import asyncio
import contextvars
import datetime
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from beluga_stream import Graph, Retry, chain
from beluga_stream.application.clients.results import Chunk, Event, NodeChanged, RunChanged, Superseded
from beluga_stream.application.execution import leaving
from beluga_stream.application.execution.context import Context, context
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.local import local
from beluga_stream.application.local.local import LocalEngine
from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.errors import InvalidInput, RunFailed
from beluga_stream.ports.handlers import Handler, Parameter, Program
from tests.unit.engines import ANY, handler, program
from tests.unit.graphs import edges, node, plan

NOW = RetryPolicy(attempts=3, first_ms=1)


async def invoke(of: Program, value: Any = 1, **signals: Any) -> Any:
    return await LocalEngine().invoke(of, value, signals=signals)


def single(call: Callable[..., Any], *, handler_options: dict[str, Any] | None = None, **options: Any) -> Program:
    of = plan([node("a", **options)], edges("input > a"), ["a"])
    return program(of, {"a": handler(call, **(handler_options or {}))})


async def test_nodes_that_are_ready_run_beside_each_other() -> None:
    both = asyncio.Barrier(2)

    async def meet(value: Any) -> int:
        async with asyncio.timeout(5):
            return await both.wait()

    of = plan([node("a"), node("b")], edges("input > a", "input > b"), ["a", "b"])
    found = await invoke(program(of, {"a": handler(meet), "b": handler(meet)}))
    assert sorted(found.values()) == [0, 1]


async def test_blocking_handlers_run_in_threads_and_beside_each_other() -> None:
    both = threading.Barrier(2, timeout=5)

    def meet(value: Any) -> bool:
        both.wait()
        return threading.current_thread() is threading.main_thread()

    of = plan([node("a"), node("b")], edges("input > a", "input > b"), ["a", "b"])
    threaded = handler(meet, executor="thread")
    assert await invoke(program(of, {"a": threaded, "b": threaded})) == {"a": False, "b": False}


async def test_whoever_goes_away_leaves_no_task_and_no_open_generator() -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def long(value: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    before = asyncio.all_tasks()
    task = asyncio.create_task(invoke(single(long)))
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert stopped.is_set()
    assert asyncio.all_tasks() == before


async def test_who_has_closed_a_stream_of_events_finds_its_run_stopped() -> None:
    stopped = asyncio.Event()

    async def long(value: Any) -> Any:
        try:
            yield value
            await asyncio.Event().wait()
        finally:
            stopped.set()

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"])
    before = asyncio.all_tasks()
    events = LocalEngine().stream(program(of, {"a": handler(long, streams=True)}), 1)
    async for event in events:
        if isinstance(event, Chunk):
            break
    await events.aclose()
    assert stopped.is_set()
    assert asyncio.all_tasks() == before


async def test_what_was_superfluous_cleans_up_though_the_run_ends_meanwhile() -> None:
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def tidy(value: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.sleep(0.05)
            cleaned.set()

    async def same(value: Any) -> Any:
        return value

    async def last(value: Any) -> Any:
        await cleaning.wait()
        return value

    of = plan(
        [node("slow"), node("quick"), node("first", join=Join.FIRST)],
        edges("input > slow", "input > quick", "slow > first", "quick > first"),
        ["first"],
    )
    assert await invoke(program(of, {"slow": handler(tidy), "quick": handler(same), "first": handler(last)})) == 1
    assert cleaned.is_set()


async def test_who_is_cancelled_twice_leaves_no_resource_open_and_nothing_unheard() -> None:
    began, tidying, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opened(kind: type) -> AsyncIterator[int]:
        yield 1
        left.set()

    async def long(value: Any, shared: int) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            tidying.set()
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
    running = LocalEngine(open_resource=opened).invoke(single(long, handler_options={"resources": {"shared": int}}), 1)
    task = asyncio.create_task(running)
    for told in (began, tidying):
        await told.wait()
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert left.is_set()
    assert asyncio.all_tasks() == before
    del task
    gc.collect()
    assert unheard == []


async def test_a_handler_that_ignores_its_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leaving, "LEFT_AFTER_SECONDS", 0.01)
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(value: int) -> None:
        began.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()
        ended.set()

    async def fail(value: int) -> None:
        await began.wait()
        raise TypeError("no")

    of = plan([node("a"), node("b")], edges("input > a", "input > b"), ["a", "b"])
    async with asyncio.timeout(10):
        with pytest.raises(RunFailed, match="no"):
            await invoke(program(of, {"a": handler(stubborn), "b": handler(fail)}))
        assert [record.action for record in caplog.records] == ["handler_lost"]
        go_on.set()
        await ended.wait()


async def test_who_leaves_does_not_wait_for_room_for_what_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks of one fill what is bounded, and the other makes something of its cancellation."""
    monkeypatch.setattr(local, "_CHUNKS_WAITING", 1)
    began, is_full = asyncio.Event(), asyncio.Event()

    async def stream(value: int) -> AsyncIterator[int]:
        for number in range(5):
            if number == 2:  # one is taken, one is in the queue
                is_full.set()
            yield number

    async def mild(value: int) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as far as it came"
        raise AssertionError

    of = plan([node("a", NodeKind.STREAM), node("b")], edges("input > a", "input > b"), ["a", "b"])
    events = LocalEngine().stream(program(of, {"a": handler(stream, streams=True), "b": handler(mild)}), 1)
    async with asyncio.timeout(10):
        async for event in events:
            if isinstance(event, Chunk):
                break
        await began.wait()
        await is_full.wait()
        await events.aclose()


@pytest.mark.parametrize("options", [{}, {"timeout_ms": 60_000}], ids=["unbounded", "bounded"])
async def test_a_handler_whose_task_others_cancel_has_failed_at_once(options: dict[str, Any]) -> None:
    calls: list[int] = []

    async def gives_up(value: Any) -> int:
        calls.append(1)
        task = asyncio.current_task()
        assert task is not None
        if len(calls) % 3:
            task.cancel()
            await asyncio.Event().wait()
        return value

    async with asyncio.timeout(10):
        assert await invoke(single(gives_up, retry=NOW, **options)) == 1
        with pytest.raises(RunFailed, match="what it waited for was cancelled"):
            await invoke(single(gives_up, retry=RetryPolicy(attempts=1), **options))


@pytest.mark.parametrize("options", [{}, {"timeout_ms": 60_000}], ids=["unbounded", "bounded"])
async def test_whatever_a_handler_raises_ends_its_run(options: dict[str, Any]) -> None:
    async def closes(value: Any) -> Any:
        raise GeneratorExit

    def closes_in_a_thread(value: Any) -> Any:
        raise GeneratorExit

    async with asyncio.timeout(10):
        for call in (closes, closes_in_a_thread):
            with pytest.raises(RunFailed, match=r"a .*raised GeneratorExit"):
                await invoke(single(call, retry=RetryPolicy(attempts=1), **options))


async def test_a_handler_whose_coroutine_is_closed_has_not_failed() -> None:
    began = asyncio.Event()
    outcomes: list[Any] = []

    async def waits(value: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    async def run() -> None:
        facts = Context(run_id="r", node="a", attempt=1)
        outcomes.append(await Executions().run(handler(waits), {"value": 1}, facts, timeout_ms=None, emit=nobody))

    async def nobody(chunk: Any) -> None:
        """It does not stream."""

    running, inside = run(), contextvars.copy_context()
    task = asyncio.create_task(running, context=inside)
    await began.wait()
    inside.run(running.close)
    task.cancel()
    await asyncio.wait([task])
    assert outcomes == []


async def test_values_pass_through_json() -> None:
    class Doc(BaseModel):
        day: datetime.date

    seen: list[Any] = []

    async def make(value: Any) -> Doc:
        return Doc(day=datetime.date(2026, 1, 2))

    async def look(value: Any) -> Any:
        seen.append(value)
        return (1, 2)

    of = plan([node("a"), node("b")], edges("input > a > b"), ["b"])
    made = Handler(make, (Parameter("value", ANY),), TypeAdapter(Doc))
    assert await invoke(program(of, {"a": made, "b": handler(look)})) == [1, 2]
    assert seen == [{"day": "2026-01-02"}]


async def test_what_is_no_json_fails_the_node_that_gave_it() -> None:
    async def give(value: Any) -> Any:
        return object()

    with pytest.raises(RunFailed, match="cannot become JSON"):
        await invoke(single(give))


async def test_an_input_that_fails_its_type_starts_nothing() -> None:
    of = single(handler)
    wrong = Program(of.definition, of.handlers, TypeAdapter(int), ANY)
    with pytest.raises(InvalidInput, match="test"):
        await invoke(wrong, "x")


async def test_failures_are_tried_again_and_then_told() -> None:
    calls: list[int] = []

    async def twice(value: Any) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return "done"

    assert await invoke(single(twice, retry=NOW)) == "done"
    calls.clear()
    with pytest.raises(RunFailed, match="not yet") as failed:
        await invoke(single(twice, retry=RetryPolicy(attempts=2, first_ms=1)))
    assert failed.value.ids["node"] == "a"
    assert failed.value.ids["attempt"] == "2"


async def test_a_slow_handler_times_out() -> None:
    async def slow(value: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RunFailed, match=r"failed: a: it did not end within 0\.01 s$") as failed:
        await invoke(single(slow, timeout_ms=10, retry=RetryPolicy(attempts=1)))
    assert failed.value.reason == "timeout"


async def test_a_value_that_fails_the_type_of_a_parameter_is_told_with_both_names() -> None:
    async def same(number: int) -> int:
        return number

    of = plan([node("a")], edges("input > a"), ["a"])
    taken = Handler(same, (Parameter("value", TypeAdapter(int)),), ANY)
    with pytest.raises(RunFailed, match="failed: a: the value for 'value' does not fit its type: "):
        await invoke(program(of, {"a": taken}), "x")


async def test_a_fallback_stands_in_after_the_last_attempt() -> None:
    async def fail(value: Any) -> None:
        raise ValueError

    async def instead(value: Any) -> str:
        return f"instead of {value}"

    of = single(fail, handler_options={"fallback": handler(instead)}, has_fallback=True, retry=RetryPolicy(attempts=1))
    assert await invoke(of, 7) == "instead of 7"


async def test_a_failure_may_be_gone_on_without() -> None:
    async def fail(value: Any) -> None:
        raise TypeError("no")

    async def look(value: Any) -> Any:
        return value["status"], value["code"]

    of = plan(
        [node("a", on_failure=OnFailure.CONTINUE), node("b")],
        (*edges("input > a"), *_outcome("a", "b")),
        ["b"],
    )
    found = await invoke(program(of, {"a": handler(fail), "b": handler(look)}))
    assert found == ["failed", "execution_failed"]


def _outcome(source: str, target: str) -> Any:
    (edge,) = edges(f"{source} > {target}")
    return [type(edge)(edge.source, edge.target, mode=EdgeMode.OUTCOME)]


async def test_what_was_done_is_undone_in_reverse() -> None:
    undone: list[str] = []

    def book(name: str) -> Handler:
        async def do(value: Any) -> str:
            return name

        async def undo(value: Any, output: Any) -> None:
            undone.append(output)

        back = Handler(undo, (Parameter("value", ANY), Parameter("output", ANY)), ANY)
        return handler(do, compensate=back)

    async def fail(value: Any) -> None:
        raise TypeError("full")

    of = plan(
        [node("a", has_compensation=True), node("b", has_compensation=True), node("c")],
        edges("input > a > b > c"),
        ["c"],
    )
    with pytest.raises(RunFailed, match="full"):
        await invoke(program(of, {"a": book("a"), "b": book("b"), "c": handler(fail)}))
    assert undone == ["b", "a"]


async def test_chunks_come_while_the_handler_runs() -> None:
    more = asyncio.Event()

    async def stream(value: Any) -> Any:
        yield "first"
        await more.wait()
        yield "second"

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"])
    seen: list[Any] = []
    async with asyncio.timeout(5):
        async for event in LocalEngine().stream(program(of, {"a": handler(stream, streams=True)}), 1):
            if isinstance(event, Chunk):
                seen.append((event.seq, event.value))
                more.set()
            elif isinstance(event, NodeChanged) and event.status == "succeeded":
                seen.append(event.status)
    assert seen == [(0, "first"), (1, "second"), "succeeded"]


async def test_a_reader_that_is_slower_than_its_writer_does_not_keep_a_run_from_its_timeout() -> None:
    clock, found = [0], list[Event]()

    async def count(start: int) -> AsyncIterator[int]:
        for number in itertools.count(start):
            yield number

    engine = LocalEngine(now_ms=lambda: clock[0])
    async for event in engine.stream(chain(count, name="count", timeout=1).compile(), 1):
        found.append(event)
        clock[0] += 1
        await asyncio.sleep(0)
        assert len(found) < 10_000
    last = found[-1]
    assert isinstance(last, RunChanged)
    assert last.failure is not None
    assert (last.status, last.failure.code) == ("failed", "timeout")


async def test_what_has_come_in_time_counts_however_late_it_is_read() -> None:
    clock, before = [0], asyncio.all_tasks()

    async def count(start: int) -> AsyncIterator[int]:
        for number in range(start, start + 3):
            yield number

    engine = LocalEngine(now_ms=lambda: clock[0])
    async with aclosing(engine.stream(chain(count, name="count", timeout=1).compile(), 1)) as events:
        await anext(events)
        while asyncio.all_tasks() > before:  # noqa: ASYNC110 - the writer has ended, and nobody has read that yet
            await asyncio.sleep(0)
        clock[0] += 10_000
        found = [event async for event in events]
    assert [event.value for event in found if isinstance(event, Chunk)] == [1, 2, 3]
    assert isinstance(found[-1], RunChanged)
    assert found[-1].status == "succeeded"


@pytest.mark.parametrize("again", [["c", "d"], []], ids=["with other chunks", "without any"])
async def test_chunks_of_an_execution_that_failed_are_void_once_another_streams(again: list[str]) -> None:
    calls: list[int] = []

    async def stream(value: Any) -> Any:
        calls.append(1)
        for chunk in again if len(calls) > 1 else ["a", "b"]:
            yield chunk
        if len(calls) == 1:
            raise ConnectionError("gone")

    of = plan([node("a", NodeKind.STREAM, retry=NOW)], edges("input > a"), ["a"])
    streams = program(of, {"a": handler(stream, streams=True)})
    shown = [event async for event in LocalEngine().stream(streams, 1) if isinstance(event, Chunk | Superseded)]
    assert [event.value if isinstance(event, Chunk) else "void" for event in shown] == ["a", "b", "void", *again]
    assert len({event.incarnation for event in shown[2:]}) == 1
    assert shown[2].attempt == 2


async def test_chunks_of_an_execution_that_another_goes_on_after_count() -> None:
    async def stream(value: Any) -> Any:
        emitted = len(context().emitted(str))
        yield f"chunk {emitted}"
        if emitted == 0:
            raise ConnectionError("gone")

    of = plan([node("a", NodeKind.STREAM, retry=NOW, resume=True)], edges("input > a"), ["a"])
    streams = program(of, {"a": handler(stream, streams=True)})
    shown = [event async for event in LocalEngine().stream(streams, 1) if isinstance(event, Chunk | Superseded)]
    assert [event.value for event in shown if isinstance(event, Chunk)] == ["chunk 0", "chunk 1"]
    assert len(shown) == 2


async def test_blocking_generators_stream_from_a_thread() -> None:
    def stream(value: int) -> Any:
        yield from range(value)

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"])
    streamed = handler(stream, streams=True, executor="thread")
    assert await invoke(program(of, {"a": streamed}), 3) == [0, 1, 2]


async def test_signals_sleeps_maps_and_loops() -> None:
    async def more(value: Any) -> Any:
        return value + 1

    of = plan(
        [
            node("wait", NodeKind.WAIT, signal="go"),
            node("sleep", NodeKind.SLEEP, timeout_ms=1),
            node("map", NodeKind.MAP),
            node("loop", NodeKind.LOOP, max_passes=10),
        ],
        edges("input > wait > map", "input > sleep", "input > loop"),
        ["map", "sleep", "loop"],
    )
    handlers = {"map": handler(more), "loop": handler(more, until=lambda value: value >= 5)}
    found = await invoke(program(of, handlers), 1, go=list(range(150)))
    assert found == {"map": list(range(1, 151)), "sleep": None, "loop": 5}


async def test_a_node_without_code_is_told_and_not_waited_for() -> None:
    of = single(handler)
    with pytest.raises(AssertionError, match="a program has the code of its nodes"):
        await invoke(Program(of.definition, {}, ANY, ANY))


async def test_a_handler_may_stop_its_iteration() -> None:
    def stop(value: Any) -> None:
        raise StopIteration

    with pytest.raises(RunFailed, match="StopIteration"):
        await invoke(single(stop, handler_options={"executor": "thread"}, retry=RetryPolicy(attempts=1)))


async def test_an_error_without_a_text_is_told_by_its_type() -> None:
    def checked(number: int) -> int:
        raise AssertionError

    graph = Graph[int, int]("checked")
    graph.set_finish_point(graph.add_node(checked, graph.input, retry=Retry(1)))
    with pytest.raises(RunFailed, match=r"checked raised AssertionError \(unit/test_local.py, line"):
        await graph.invoke(1)
