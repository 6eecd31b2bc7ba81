"""What stands around each execution of an orchestrator's nodes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from beluga_stream import Execution, Middleware, Orchestrator, Proceed, Retry, RunChanged, node
from beluga_stream.errors import BelugaError, InvalidConfig, RunFailed


def double(number: int) -> int:
    return number * 2


async def add_one(number: int) -> int:
    return number + 1


@node(retry=Retry(2, first=0.001, most=0.001))
async def fails(number: int) -> int:
    raise ConnectionError("gone")


async def spell(number: int) -> AsyncIterator[str]:
    for digit in str(number):
        yield digit


async def through(middleware: list[Middleware], *steps: Any, value: int = 1) -> Any:
    async with Orchestrator(middleware=middleware) as orch:
        return await orch.create_chain(*steps, name="c").invoke(value)


async def test_it_sees_every_attempt_of_every_node_from_outside_to_inside() -> None:
    seen: list[tuple[str, str, int, dict[str, Any]]] = []

    def named(name: str) -> Middleware:
        async def middleware(execution: Execution, proceed: Proceed) -> Any:
            seen.append((name, execution.node, execution.attempt, dict(execution.values)))
            return await proceed()

        return middleware

    with pytest.raises(RunFailed, match="gone"):
        await through([named("outer"), named("inner")], double, fails)
    assert seen == [
        ("outer", "double", 1, {"number": 1}),
        ("inner", "double", 1, {"number": 1}),
        ("outer", "fails", 1, {"number": 2}),
        ("inner", "fails", 1, {"number": 2}),
        ("outer", "fails", 2, {"number": 2}),
        ("inner", "fails", 2, {"number": 2}),
    ]


async def test_it_may_change_what_goes_in_and_what_comes_out() -> None:
    async def shift(execution: Execution, proceed: Proceed) -> Any:
        execution.values["number"] += 10
        return await proceed() + 100

    assert await through([shift], double, add_one) == ((1 + 10) * 2 + 100) + 10 + 1 + 100


async def test_what_it_gives_must_fit_the_node() -> None:
    async def lies(execution: Execution, proceed: Proceed) -> Any:
        return "no number"

    with pytest.raises(RunFailed) as failed:
        await through([lies], double)
    assert failed.value.reason == "invalid_input"


class Answer(BaseModel):
    text: str


async def answer(number: int) -> Answer:
    return Answer(text=str(number))


def short(given: Answer) -> str:
    return f"short {given.text}"


def long(given: Answer) -> str:
    return f"long {given.text}"


async def test_what_it_gives_decides_where_the_run_goes() -> None:
    async def longer(execution: Execution, proceed: Proceed) -> Any:
        given = await proceed()
        return {"text": given["text"] * 5} if execution.node == "answer" else given

    async with Orchestrator(middleware=[longer]) as orch:
        graph = orch.create_graph("g", int, str)
        said = graph.add_node(answer, graph.input)
        few = said.when(lambda given: len(given.text) < 3)
        graph.set_finish_point(graph.first(graph.add_node(short, few), graph.add_node(long, said.otherwise())))
        assert await graph.invoke(7) == "long 77777"


@pytest.mark.parametrize(
    ("error", "told"), [(SystemExit(2), r"sys.exit\(2\)"), (GeneratorExit(), "double raised GeneratorExit")], ids=repr
)
async def test_one_that_wants_to_end_the_process_or_its_coroutine_fails_the_node(
    error: BaseException, told: str
) -> None:
    async def exits(execution: Execution, proceed: Proceed) -> Any:
        raise error

    with pytest.raises(RunFailed, match=told):
        await through([exits], node(retry=Retry(1))(double))


async def test_it_may_keep_a_node_from_running() -> None:
    ran: list[int] = []

    def step(number: int) -> int:
        ran.append(number)
        return number

    async def guard(execution: Execution, proceed: Proceed) -> Any:
        raise PermissionError(f"{execution.node} is not for you")

    no_retry = node(retry=Retry(1), name="step")(step)
    with pytest.raises(RunFailed, match="step is not for you") as failed:
        await through([guard], no_retry)
    assert (failed.value.ids["node"], ran) == ("step", [])


async def test_it_sees_what_failed_and_may_give_something_else() -> None:
    seen: list[tuple[str, bool]] = []

    async def rescue(execution: Execution, proceed: Proceed) -> Any:
        try:
            return await proceed()
        except BelugaError as error:
            seen.append((error.code, error.retryable))
            return 42

    assert await through([rescue], fails) == 42
    assert seen == [("execution_failed", True)]


async def test_it_stands_around_the_nodes_of_graphs_and_of_what_is_within_them() -> None:
    seen: list[str] = []

    async def note(execution: Execution, proceed: Proceed) -> Any:
        seen.append(execution.node)
        return await proceed()

    async with Orchestrator(middleware=[note]) as orch:
        graph = orch.create_graph("g", int, int)
        inner = orch.create_chain(double, add_one, name="inner")
        graph.set_finish_point(graph.add_node(double, graph.add_node(inner, graph.input), name="last"))
        assert await graph.invoke(1) == 6
    assert seen == ["double", "add_one", "last"]


async def test_what_it_changes_in_place_is_checked_and_decides_too() -> None:
    async def longer(execution: Execution, proceed: Proceed) -> Any:
        given = await proceed()
        if execution.node == "answer":
            given["text"] *= 5
        return given

    async def wrong(execution: Execution, proceed: Proceed) -> Any:
        given = await proceed()
        given["text"] = 7
        return given

    for one, expected in ((longer, "long 77777"), (wrong, None)):
        async with Orchestrator(middleware=[one]) as orch:
            graph = orch.create_graph("g", int, str, retries=0)
            said = graph.add_node(answer, graph.input)
            few = said.when(lambda given: len(given.text) < 3)
            graph.set_finish_point(graph.first(graph.add_node(short, few), graph.add_node(long, said.otherwise())))
            if expected is not None:
                assert await graph.invoke(7) == expected
                continue
            with pytest.raises(RunFailed, match="answer: middleware gave what the node's type forbids: text: "):
                await graph.invoke(7)


@pytest.mark.parametrize(("given", "kind"), [("12", "str"), (None, "NoneType")])
async def test_for_a_stream_it_gives_a_list(given: Any, kind: str) -> None:
    async def gives(execution: Execution, proceed: Proceed) -> Any:
        return given

    with pytest.raises(RunFailed, match=f"spell: middleware gave a {kind} for a stream"):
        await through([gives], node(retry=Retry(1))(spell))


async def test_the_whole_output_of_a_stream_passes_through_it() -> None:
    async def loud(execution: Execution, proceed: Proceed) -> Any:
        return [*await proceed(), "!"]

    assert await through([loud], spell, value=12) == ["1", "2", "!"]


async def test_a_cancelled_run_cancels_it() -> None:
    inside, left = asyncio.Event(), asyncio.Event()

    async def waits(execution: Execution, proceed: Proceed) -> Any:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with Orchestrator(middleware=[waits]) as orch:
        task = asyncio.create_task(orch.create_chain(double).invoke(1))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert left.is_set()


async def test_streams_of_events_have_it_too() -> None:
    async def guard(execution: Execution, proceed: Proceed) -> Any:
        raise TypeError("no")

    async with Orchestrator(middleware=[guard]) as orch:
        events = [event async for event in orch.create_chain(double).stream(1)]
    assert isinstance(events[-1], RunChanged)
    assert events[-1].status == "failed"


async def test_engines_that_it_does_not_reach_are_refused() -> None:
    async def note(execution: Execution, proceed: Proceed) -> Any:
        return await proceed()

    async with Orchestrator(middleware=[note]) as orch:
        with pytest.raises(InvalidConfig, match="out of reach of this orchestrator's middleware"):
            orch.create_chain(double, provider="kafka")


@pytest.mark.parametrize("error", [BaseException("odd"), asyncio.CancelledError("gone")])
async def test_whatever_it_raises_is_the_failure_of_its_node(error: BaseException) -> None:
    async def breaks(execution: Execution, proceed: Proceed) -> Any:
        raise error

    async with asyncio.timeout(10), Orchestrator(middleware=[breaks]) as orch:
        graph = orch.create_graph("g", int, int, retries=0)
        graph.set_finish_point(graph.add_node(add_one, graph.input))
        for work in (graph, orch.create_chain(add_one, retries=0)):
            with pytest.raises(RunFailed, match=str(error)) as failed:
                await work.invoke(1)
            assert type(failed.value.__cause__) in (type(error), RuntimeError)
