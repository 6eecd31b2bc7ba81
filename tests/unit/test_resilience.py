"""What circuit breakers, bulkheads, rate limits, retries and hedges have in common, around functions of every kind."""

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from beluga_stream import (
    Bulkhead,
    CircuitBreaker,
    Graph,
    Hedge,
    Limit,
    RateLimit,
    Retry,
    Scheduler,
    Task,
    chain,
    node,
)
from beluga_stream.api.node import options_of
from beluga_stream.errors import (
    RETRYABLE_CODES,
    CircuitBreakerOpen,
    InvalidConfig,
    InvalidGraph,
    RateLimitExceeded,
    ResourceExhausted,
)
from tests.unit.guarded import count, double, square, steps
from tests.unit.guarded_agents import limited_square, square_anywhere

GUARDS: dict[str, Callable[[], Any]] = {
    "circuit": lambda: CircuitBreaker("x"),
    "bulkhead": lambda: Bulkhead(2),
    "rate": lambda: RateLimit(100),
    "retry": lambda: Retry(2),
}


@pytest.mark.parametrize("guard", GUARDS)
async def test_a_guarded_function_stays_what_it_was(guard: str) -> None:
    for function in (double, count, square, steps):
        guarded = GUARDS[guard]()(node(name="renamed")(function))
        assert inspect.signature(guarded) == inspect.signature(function)
        assert guarded.__name__ == function.__name__
        assert options_of(guarded)["name"] == "renamed"
        assert inspect.iscoroutinefunction(guarded) == inspect.iscoroutinefunction(function)
        assert inspect.isasyncgenfunction(guarded) == inspect.isasyncgenfunction(function)
    make = GUARDS[guard]()
    assert await make(double)(2) == 4
    assert [one async for one in make(count)(3)] == [0, 1, 2]
    assert make(square)(3) == 9
    assert list(make(steps)(2)) == [0, 1]


@pytest.mark.parametrize("guard", GUARDS)
async def test_guarded_functions_are_nodes_of_graphs(guard: str) -> None:
    make = GUARDS[guard]()
    assert await chain(make(double), make(square), name="guarded").invoke(2) == 16
    assert await chain(make(double), make(count), name="streaming").invoke(1) == [0, 1]


@pytest.mark.parametrize("guard", [*GUARDS, "hedge"])
def test_what_is_no_function_is_refused(guard: str) -> None:
    make = GUARDS[guard]() if guard in GUARDS else Hedge(1)
    with pytest.raises(InvalidConfig, match="is for functions: it cannot be put around a object"):
        make(object())


def passed_on(function: Any) -> Any:
    """As decorators do that know nothing of async: what the function gives is handed on as it is."""

    @functools.wraps(function)
    def call(*given: Any) -> Any:
        return function(*given)

    return call


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("function", [double, count, steps])
async def test_a_plain_function_that_only_gives_what_is_yet_to_run_is_refused(guard: str, function: Any) -> None:
    make = GUARDS[guard]()
    with pytest.raises(InvalidConfig, match=rf"{function.__name__} .* below the decorator that stands between them"):
        make(passed_on(function))(2)
    assert make(passed_on(square))(3) == 9
    assert await passed_on(make(double))(2) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: CircuitBreaker(""),
        lambda: CircuitBreaker("x", failures=0),
        lambda: CircuitBreaker("x", reset_after=0),
        lambda: CircuitBreaker("x", timeout=0),
        lambda: CircuitBreaker("x", timeout=float("nan")),
        lambda: Bulkhead(1, timeout=float("nan")),
        lambda: RateLimit(1, wait=float("nan")),
        lambda: Hedge(float("nan")),
        lambda: CircuitBreaker("x", timeout=1)(square),
        lambda: CircuitBreaker("x", failures="3"),  # type: ignore[arg-type]
        lambda: CircuitBreaker("x", reset_after="3s"),  # type: ignore[arg-type]
        lambda: CircuitBreaker("x", timeout=float("inf")),
        lambda: CircuitBreaker("x", on=[ConnectionError, "OSError"]),  # type: ignore[list-item]
        lambda: Bulkhead("3"),  # type: ignore[arg-type]
        lambda: Bulkhead(1, queue_size=1.5),  # type: ignore[arg-type]
        lambda: Bulkhead(1, timeout=float("inf")),
        lambda: RateLimit("3"),  # type: ignore[arg-type]
        lambda: RateLimit(1, per=float("inf")),
        lambda: RateLimit(1, wait=float("inf")),
        lambda: Hedge("1"),  # type: ignore[arg-type]
        lambda: Hedge(1, attempts="2"),  # type: ignore[arg-type]
        lambda: Limit("3"),  # type: ignore[arg-type]
        lambda: Bulkhead(0),
        lambda: Bulkhead(1, queue_size=-1),
        lambda: Bulkhead(1, timeout=0),
        lambda: RateLimit(0),
        lambda: RateLimit(1, burst=0),
        lambda: RateLimit(1, per=0),
        lambda: RateLimit(1, wait=-1),
        lambda: Hedge(0),
        lambda: Hedge(1, attempts=1),
        lambda: Hedge(1)(square),  # type: ignore[type-var]
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InvalidConfig):
        wrong()


def test_the_errors_are_worth_another_attempt_later() -> None:
    for kind in (CircuitBreakerOpen, RateLimitExceeded, ResourceExhausted):
        assert kind("x").retryable
        assert kind.code in RETRYABLE_CODES


@pytest.mark.parametrize("of", ["node", "task"])
async def test_a_function_whose_call_was_given_up_while_it_waited_in_its_thread_is_not_called(of: str) -> None:
    taken, go_on, calls = threading.Event(), threading.Event(), list[str]()
    bulkhead = Bulkhead(1, queue_size=1)

    @bulkhead
    def charge(who: str) -> str:
        calls.append(who)
        taken.set()
        assert go_on.wait(10)
        return who

    holding = asyncio.create_task(asyncio.to_thread(charge, "first"))
    assert await asyncio.to_thread(taken.wait, 10)
    scheduler = Scheduler()
    work = (
        chain(charge).invoke("second") if of == "node" else scheduler.submit(Task("second", charge, "second")).result()
    )
    given_up = asyncio.create_task(work)
    async with asyncio.timeout(10):
        while not bulkhead.waiting:  # noqa: ASYNC110 - a thread tells no event of the loop
            await asyncio.sleep(0)
        given_up.cancel()
        await scheduler.aclose()
        await asyncio.wait({given_up})
        go_on.set()
        assert await holding == "first"
        while bulkhead.running:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    assert calls == ["first"]


async def test_a_function_whose_node_was_given_up_while_a_rate_held_it_is_not_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, go_on, calls = threading.Event(), threading.Event(), list[str]()
    threads: list[threading.Thread] = []

    def sleep(seconds: float) -> None:
        threads.append(threading.current_thread())
        waits.set()
        assert go_on.wait(10)

    monkeypatch.setattr("beluga_stream.api.rate_limit.time", SimpleNamespace(sleep=sleep))

    @CircuitBreaker("payments")
    @RateLimit(1, per=1, wait=1)
    def charge(who: str) -> str:
        calls.append(who)
        return who

    assert charge("first") == "first"
    given_up = asyncio.create_task(chain(charge).invoke("second"))
    assert await asyncio.to_thread(waits.wait, 10)
    given_up.cancel()
    await asyncio.wait({given_up})
    go_on.set()
    await asyncio.to_thread(threads[0].join, 10)  # the threads of a run end with it
    assert calls == ["first"]


async def test_what_one_process_keeps_is_refused_for_several() -> None:
    graph = Graph[int, int]("apart")
    graph.set_finish_point(graph.add_node(limited_square, graph.input, executor="process"))
    with pytest.raises(InvalidGraph, match=r"node 'limited_square': each process would have a Bulkhead of its own"):
        graph.compile()


async def test_a_shared_circuit_works_in_processes() -> None:
    graph = Graph[int, int]("apart")
    graph.set_finish_point(graph.add_node(square_anywhere, graph.input, executor="process"))
    assert await graph.invoke(3) == 9


async def test_what_may_wait_is_refused_in_the_event_loop() -> None:
    graph = Graph[int, int]("held")
    graph.set_finish_point(graph.add_node(RateLimit(1, wait=1)(square), graph.input, executor="async"))
    with pytest.raises(InvalidGraph, match="its RateLimit may wait, and would hold up the event loop"):
        graph.compile()
