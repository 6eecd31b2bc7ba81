"""What an orchestrator's chains and graphs promise, each against the way it has been broken elsewhere."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from beluga_stream import Chunk, NodeChanged, Orchestrator, Retry, RunChanged, Stream, chain, context, node
from beluga_stream.errors import (
    InvalidConfig,
    InvalidGraph,
    InvalidInput,
    ResourceExhausted,
    RunFailed,
    TimedOut,
)

SOON = Retry(3, first=0.001, most=0.001)


@pytest.fixture
async def orch() -> AsyncIterator[Orchestrator]:
    async with Orchestrator() as made:
        yield made


def same(value: Any) -> Any:
    return value


async def forever(value: Any) -> Any:
    await asyncio.Event().wait()
    return value


class Flaky:
    """A handler that fails so often, then gives its input."""

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def __call__(self, value: int) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error("not yet")
        return value


# ------------------------------------------------------------------------------------------- chains


def describe(given: dict[str, str]) -> dict[str, str]:
    return {"result": given["data"], **({"metadata": "m"} if given["data"] == "full" else {})}


async def test_a_missing_input_key_is_told_before_anything_runs(orch: Orchestrator) -> None:
    ran: list[object] = []

    def first(given: dict[str, str]) -> dict[str, str]:
        ran.append(given)
        return given

    made = orch.create_chain(first, input_keys=("data", "config"))
    assert made.input_keys == ("data", "config")
    with pytest.raises(InvalidInput, match="the input lacks 'config'"):
        await made.invoke({"data": "x"})
    assert ran == []
    assert await made.invoke({"data": "x", "config": "y", "more": "z"}) == {"data": "x", "config": "y", "more": "z"}


async def test_a_missing_output_key_fails_the_run(orch: Orchestrator) -> None:
    made = orch.create_chain(describe, output_keys=("result", "metadata"), retries=0)
    assert await made.invoke({"data": "full"}) == {"result": "full", "metadata": "m"}
    with pytest.raises(RunFailed, match="the result lacks 'metadata'") as failed:
        await made.invoke({"data": "x"})
    assert (failed.value.reason, failed.value.ids["node"]) == ("invalid_input", "describe")


async def test_keys_hold_for_streams_and_for_a_chain_within_another(orch: Orchestrator) -> None:
    inner = orch.create_chain(same, name="inner", input_keys=("data",))
    with pytest.raises(InvalidInput, match="lacks 'data'"):
        await anext(inner.stream({}))
    outer = orch.create_chain(same, inner, name="outer", retries=0)
    assert await outer.invoke({"data": 1}) == {"data": 1}
    with pytest.raises(RunFailed, match="'data'"):
        await outer.invoke({})


async def test_keys_are_in_the_schema_that_the_engine_checks(orch: Orchestrator) -> None:
    made = orch.create_chain(describe, input_keys=("data",), output_keys=("result",))
    definition = made.compile().definition
    assert definition.input_schema["required"] == ["data"]
    assert definition.output_schema["required"] == ["result"]


class Model(BaseModel):
    data: str
    config: str = "default"


def of_model(model: Model) -> dict[str, str]:
    return {"data": model.data}


async def test_keys_of_models_are_their_fields(orch: Orchestrator) -> None:
    made = orch.create_chain(of_model, input_keys=("data", "config"), output_keys=("data",))
    assert await made.invoke(Model(data="x")) == {"data": "x"}
    given: Any = {"data": "x"}
    with pytest.raises(InvalidInput, match="lacks 'config'"):
        await made.invoke(given)
    with pytest.raises(InvalidGraph, match="Model has no 'dta'"):
        orch.create_chain(of_model, input_keys=("dta",))


def length(text: str) -> int:
    return len(text)


@pytest.mark.parametrize("keys", ["data", ("data", "data"), ("",), (1,)])
async def test_keys_that_are_none_are_refused(orch: Orchestrator, keys: Any) -> None:
    with pytest.raises(InvalidConfig, match="input_keys"):
        orch.create_chain(same, input_keys=keys)
    with pytest.raises(InvalidGraph, match="int has no keys"):
        orch.create_chain(length, output_keys=("data",))


async def test_no_retries_means_that_it_runs_once(orch: Orchestrator) -> None:
    step = Flaky(failures=1)
    made = orch.create_chain(step, name="once", retries=0)
    with pytest.raises(RunFailed, match="not yet"):
        await made.invoke(1)
    assert step.calls == 1
    assert await made.invoke(1) == 1


async def test_a_retry_repeats_the_step_and_not_the_chain(orch: Orchestrator) -> None:
    before, step = Flaky(0), Flaky(2)
    made = orch.create_chain(node(name="before", retry=SOON)(before), node(name="step", retry=SOON)(step), name="c")
    assert await made.invoke(1) == 1
    assert (before.calls, step.calls) == (1, 3)


@pytest.mark.parametrize("error", [TypeError, InvalidInput])
async def test_only_errors_that_another_attempt_may_mend_are_retried(
    orch: Orchestrator, error: type[Exception]
) -> None:
    step = Flaky(failures=1, error=error)
    with pytest.raises(RunFailed):
        await orch.create_chain(step, name="c", retries=5).invoke(1)
    assert step.calls == 1


@pytest.mark.parametrize("step", [forever, chain(forever, name="inner")], ids=["a step", "a chain within"])
async def test_a_chain_ends_in_time(orch: Orchestrator, step: Any) -> None:
    made = orch.create_chain(step, name="late", timeout=0.02)
    with pytest.raises(TimedOut, match=r"'late' did not end within 0.02 s") as late:
        await made.invoke(1)
    assert isinstance(late.value, TimeoutError)
    assert late.value.retryable


async def test_a_stream_has_the_timeout(orch: Orchestrator) -> None:
    events = [event async for event in orch.create_chain(forever, timeout=0.02).stream(1)]
    last = events[-1]
    assert isinstance(last, RunChanged)
    assert last.failure is not None
    assert (last.status, last.failure.code) == ("failed", "timeout")


async def test_a_stream_whose_reader_comes_back_late_ends_with_the_timeout_too(
    orch: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beluga_stream.api.running._LATE_SECONDS", 0.0)
    events = orch.create_chain(forever, timeout=0.02).stream(1)
    await anext(events)
    await asyncio.sleep(0.05)  # its time is up
    last = [event async for event in events][-1]
    assert isinstance(last, RunChanged)
    assert last.failure is not None
    assert (last.status, last.failure.code) == ("failed", "timeout")


async def test_a_stream_has_the_retries(orch: Orchestrator) -> None:
    step = Flaky(failures=2)
    made = orch.create_chain(node(name="step", retry=SOON)(step), name="c")
    events = [event async for event in made.stream(7)]
    assert [one.attempt for one in events if isinstance(one, NodeChanged) and one.status == "succeeded"] == [3]
    assert isinstance(events[-1], RunChanged)
    assert events[-1].status == "succeeded"


async def test_a_batch_runs_at_once_up_to_its_bound(orch: Orchestrator) -> None:
    now, most = 0, 0
    three = asyncio.Barrier(3)

    async def together(value: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        async with asyncio.timeout(10):
            await three.wait()
        now -= 1
        return value * 2

    made = orch.create_chain(together)
    assert await made.batch(range(6), max_concurrency=3) == [0, 2, 4, 6, 8, 10]
    assert most == 3
    with pytest.raises(InvalidConfig, match="at least 1"):
        await made.batch([1], max_concurrency=0)
    assert await made.batch([1, 2, 3], return_exceptions=True) == [2, 4, 6]


# ------------------------------------------------------------------------------------------- graphs


async def add_one(value: int) -> int:
    return value + 1


def double(value: int) -> int:
    return value * 2


def total(a: int, b: int) -> int:
    return a + b


async def test_every_node_gets_what_its_predecessors_gave(orch: Orchestrator) -> None:
    graph = orch.create_graph("sum", int, int)
    one = graph.add_node(add_one, graph.input)
    graph.set_finish_point(graph.add_node(total, graph.add_node(double, one), one))
    assert await graph.invoke(1) == 6


async def test_a_join_runs_after_all_that_it_joins(orch: Orchestrator) -> None:
    go_on = asyncio.Event()
    ended: list[str] = []

    async def slow(value: int) -> int:
        await go_on.wait()
        ended.append("slow")
        return value

    async def quick(value: int) -> int:
        ended.append("quick")
        go_on.set()
        return value

    def join(a: int, b: int) -> int:
        ended.append("join")
        return a + b

    graph = orch.create_graph("joined", int, int)
    graph.set_finish_point(graph.add_node(join, graph.add_node(slow, graph.input), graph.add_node(quick, graph.input)))
    assert await graph.invoke(2) == 4
    assert ended == ["quick", "slow", "join"]


async def test_a_cycle_is_refused_and_not_skipped(orch: Orchestrator) -> None:
    graph = orch.create_graph("round")
    for name in ("a", "b"):
        graph.add_node(name, add_one)
    graph.set_entry_point("a").add_edge("a", "b", into="value").add_edge("b", "a", into="value")
    graph.set_finish_point("b")
    with pytest.raises(InvalidGraph):
        await graph.invoke(1)


async def test_a_graph_whose_finish_may_not_be_reached_is_refused(orch: Orchestrator) -> None:
    graph = orch.create_graph("picky", int, int)
    big = graph.add_node(add_one, graph.input)
    graph.set_finish_point(graph.add_node(double, big.when(lambda value: value > 10)))
    with pytest.raises(InvalidGraph, match="'double' may not be reached"):
        await graph.invoke(10)


async def test_nodes_of_a_graph_are_retried(orch: Orchestrator) -> None:
    step = Flaky(failures=2)
    graph = orch.create_graph("careful", int, int)
    graph.set_finish_point(graph.add_node(step, graph.input, name="step", retry=SOON))
    assert await graph.invoke(5) == 5
    assert step.calls == 3
    other = orch.create_graph("default", retries=0)
    other.add_node("step", Flaky(failures=1))
    other.set_entry_point("step").set_finish_point("step")
    assert other.compile().definition.nodes[0].retry.attempts == 1


async def test_a_stream_runs_every_finish_point(orch: Orchestrator) -> None:
    async def letters(text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    graph = orch.create_graph("both", str, Mapping[str, Any])
    graph.set_finish_point(graph.add_node(letters, graph.input), graph.add_node(same, graph.input))
    events = [event async for event in graph.stream("ab")]
    assert [one.value for one in events if isinstance(one, Chunk)] == ["a", "b"]
    done = {one.node for one in events if isinstance(one, NodeChanged) and one.status == "succeeded"}
    assert done == {"letters", "same"}
    assert await graph.invoke("ab") == {"letters": ["a", "b"], "same": "ab"}


def wide(orch: Orchestrator, handler: Any, width: int, **options: Any) -> Any:
    """A graph of so many nodes beside each other."""
    graph = orch.create_graph("wide", **options)
    for number in range(width):
        graph.add_node(f"n{number}", handler)
        graph.set_entry_point(f"n{number}").set_finish_point(f"n{number}")
    return graph


class Gauge:
    """Counts how many of its calls go on at a time; each waits until `width` have been seen, or all are in."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    async def __call__(self, value: int) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):
            await asyncio.sleep(0)
        self.now -= 1
        return value


async def test_nodes_run_beside_each_other(orch: Orchestrator) -> None:
    all_at_once = asyncio.Barrier(4)

    async def meet(value: int) -> int:
        async with asyncio.timeout(10):
            await all_at_once.wait()
        return value

    assert len(await wide(orch, meet, 4).invoke(1)) == 4


@pytest.mark.parametrize(("options", "most"), [({"max_workers": 2}, 2), ({"parallel": False}, 1)], ids=str)
async def test_no_more_run_at_a_time_than_may(orch: Orchestrator, options: Any, most: int) -> None:
    gauge = Gauge()
    assert len(await wide(orch, gauge, 6, **options).invoke(1)) == 6
    assert gauge.most == most


async def test_workers_are_of_the_graph_and_not_of_the_run(orch: Orchestrator) -> None:
    gauge = Gauge()
    await wide(orch, gauge, 2, max_workers=3).batch(range(6), max_concurrency=6)
    assert gauge.most == 3


async def test_sync_nodes_run_beside_each_other_in_threads(orch: Orchestrator) -> None:
    both = threading.Barrier(2)

    def meet(value: int) -> int:
        both.wait(10)
        return value

    assert len(await wide(orch, meet, 2).invoke(1)) == 2


async def test_a_full_queue_refuses_runs_before_anything_of_them_runs(orch: Orchestrator) -> None:
    began: Counter[int] = Counter()
    go_on = asyncio.Event()

    async def hold(value: int) -> int:
        began[value] += 1
        await go_on.wait()
        return value

    graph = wide(orch, hold, 1, max_workers=1, queue_size=2)
    tasks = [asyncio.create_task(graph.invoke(number)) for number in range(5)]
    refused = [task for task in tasks if isinstance(await _error_or_none(task, go_on), ResourceExhausted)]
    assert [tasks.index(task) for task in refused] == [3, 4]
    error = refused[0].exception()
    assert isinstance(error, ResourceExhausted)
    assert (error.code, error.retryable) == ("resource_exhausted", True)
    assert "queue_size=2" in str(error)
    await asyncio.gather(*tasks[:3])
    assert began == {0: 1, 1: 1, 2: 1}
    assert await graph.invoke(9) == 9, "what has ended makes room"


async def _error_or_none(task: "asyncio.Task[Any]", go_on: asyncio.Event) -> BaseException | None:
    """What a task was refused with, once every task has got as far as it can; then the others are let go on."""
    for _ in range(50):
        await asyncio.sleep(0)
    found = task.exception() if task.done() else None
    if found is not None:
        go_on.set()
    return found


async def test_what_reads_a_stream_does_not_keep_what_it_reads_from_a_worker(orch: Orchestrator) -> None:
    async def letters(text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    async def joined(found: Stream[str]) -> str:
        return "-".join([letter async for letter in found])

    graph = orch.create_graph("spelled", str, str, max_workers=1, parallel=False)
    graph.set_finish_point(graph.add_node(joined, graph.add_node(letters, graph.input).stream))
    assert await graph.invoke("abc") == "a-b-c"


async def test_a_graph_wider_than_its_queue_runs(orch: Orchestrator) -> None:
    assert len(await wide(orch, add_one, 20, max_workers=1, queue_size=0).invoke(1)) == 20


async def breaks(value: int) -> int:
    raise ConnectionError("away")


@pytest.mark.parametrize(("last", "reason"), [(forever, "timeout"), (breaks, "execution_failed")])
@pytest.mark.parametrize("by", ["invoke", "stream"])
async def test_what_a_run_has_done_is_undone_though_its_time_is_up(
    orch: Orchestrator, monkeypatch: pytest.MonkeyPatch, last: Any, reason: str, by: str
) -> None:
    monkeypatch.setattr("beluga_stream.api.running._LATE_SECONDS", 0)
    done: list[str] = []

    def charge(value: int) -> int:
        done.append("charged")
        return value

    async def refund(value: int, charged: int) -> None:
        await asyncio.sleep(0.6)  # longer than the run has
        done.append("refunded")

    order = orch.create_graph("order", int, int, timeout=0.5, retries=0)
    order.set_finish_point(order.add_node(last, order.add_node(charge, order.input, compensate=refund)))
    if by == "stream":
        (*_, ended) = [event async for event in order.stream(1)]
        assert isinstance(ended, RunChanged)
        assert ended.failure is not None
        assert (ended.status, ended.failure.code) == ("failed", reason)
    else:
        with pytest.raises(TimedOut if reason == "timeout" else RunFailed):
            await order.invoke(1)
    assert done == ["charged", "refunded"]


# ------------------------------------------------------------------------------------------- errors, metrics


@pytest.mark.parametrize("step", [forever, add_one])
async def test_an_error_from_within_a_run_keeps_whether_it_is_worth_another_try(orch: Orchestrator, step: Any) -> None:
    bounded = node(timeout=0.01, retry=Retry(1), name="bounded")

    async def inner(value: Any) -> Any:
        return await step(value)

    made = orch.create_chain(bounded(inner), name="c")
    if step is forever:
        with pytest.raises(RunFailed) as failed:
            await made.invoke(1)
        assert (failed.value.reason, failed.value.retryable, failed.value.ids["node"]) == ("timeout", True, "bounded")
    else:
        with pytest.raises(RunFailed) as failed:
            await made.invoke("x")
        assert (failed.value.reason, failed.value.retryable) == ("execution_failed", False)


async def test_active_goes_down_again_however_a_run_ends(orch: Orchestrator) -> None:
    left = asyncio.create_task(orch.create_chain(forever).invoke(1))
    await asyncio.sleep(0)
    assert orch.metrics().active_chains == 1
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    with pytest.raises(InvalidInput):
        await orch.create_chain(length).invoke("a".__len__)  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(TimedOut):
        await orch.create_chain(forever, timeout=0.01).invoke(1)
    events = orch.create_chain(forever).stream(1)
    await anext(events)
    await events.aclose()
    metrics = orch.metrics().chains
    assert (metrics.active, metrics.executions, metrics.errors) == (0, 4, 4)


# ------------------------------------------------------------------------------------------- what can be a step


class Sync:
    def invoke(self, value: int) -> int:
        return value + 1

    def batch(self, inputs: list[int]) -> list[int]:
        return [self.invoke(one) for one in inputs]

    def stream(self, value: int) -> Any:
        yield self.invoke(value)


class Async:
    async def invoke(self, value: int) -> int:
        return value * 10


class LikeLangChain:
    """LangChain's own: `invoke` would block, so `ainvoke` is what must be called."""

    def invoke(self, input: int, config: object = None, **more: Any) -> int:  # noqa: A002 - LangChain's name
        raise AssertionError("ainvoke is there")

    async def ainvoke(self, input: int, config: object = None, **more: Any) -> int:  # noqa: A002 - LangChain's name
        return input + 5

    async def astream(self, input: int, config: object = None) -> AsyncIterator[int]:  # noqa: A002 - its name
        for number in range(input):
            yield number


async def test_functions_objects_chains_and_graphs_are_steps_nested_at_will(orch: Orchestrator) -> None:
    graph = orch.create_graph("inner_graph", int, int)
    graph.set_finish_point(graph.add_node(Async(), graph.add_node(Sync(), graph.input)))
    inner = orch.create_chain(graph, LikeLangChain(), name="inner_chain")
    outer = orch.create_chain(add_one, inner, double, name="outer")
    assert await outer.invoke(1) == ((1 + 1 + 1) * 10 + 5) * 2
    around = orch.create_graph("around", int, int)
    around.set_finish_point(around.add_node(outer, around.input))
    assert await around.invoke(1) == 70


async def test_astream_of_an_object_makes_a_streaming_step(orch: Orchestrator) -> None:
    made = orch.create_chain(add_one, LikeLangChain().astream)
    assert await made.invoke(2) == [0, 1, 2]
    chunks = [event.value async for event in made.stream(1) if isinstance(event, Chunk)]
    assert chunks == [0, 1]


async def test_a_step_knows_its_run(orch: Orchestrator) -> None:
    def keys(value: int) -> list[str]:
        here = context()
        return [here.graph, here.node, here.idempotency_key.removeprefix(here.run_id)]

    assert await orch.create_chain(keys, name="c").invoke(1) == ["c", "keys", "/keys"]
