"""Circuit breaker, bulkhead, rate limit, retry and hedge, around handlers of every kind."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import Bulkhead, CircuitBreaker, Graph, Hedge, RateLimit, Retry, SharedCircuits, chain, node
from beluga_stream.api.node import options_of
from beluga_stream.errors import (
    RETRYABLE_CODES,
    CircuitBreakerOpen,
    InvalidConfig,
    InvalidGraph,
    InvalidInput,
    MaxRetriesExceeded,
    RateLimitExceeded,
    ResourceExhausted,
    RunFailed,
    TimedOut,
)
from beluga_stream.testing.virtual_time import VirtualLoop
from tests.unit.guarded_agents import limited_square, square_anywhere


class Time:
    """Seconds that a test moves on by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


def virtually(main: Callable[[], Any], seed: int = 0) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main())


async def double(number: int) -> int:
    """Twice."""
    return 2 * number


async def count(number: int) -> AsyncIterator[int]:
    for one in range(number):
        yield one


def square(number: int) -> int:
    return number * number


def steps(number: int) -> Iterator[int]:
    yield from range(number)


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


# --------------------------------------------------------------------------------------------- circuit breaker
class Service:
    """Fails while it is told to, and counts its calls."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls = 0

    async def call(self, number: int) -> int:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture(params=["local", "shared"])
def breaker(request: pytest.FixtureRequest, time: Time, tmp_path: Path) -> CircuitBreaker:
    store = SharedCircuits(tmp_path / "circuits.db") if request.param == "shared" else None
    return CircuitBreaker("service", failures=2, reset_after=30, store=store, now=time)


async def opened(breaker: CircuitBreaker, service: Service) -> Callable[[int], Any]:
    async def call(number: int) -> int:
        return await service.call(number)

    guarded = breaker(call)
    service.error = ConnectionError("away")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await guarded(1)
    assert breaker.state == "open"
    return guarded


async def test_a_circuit_opens_half_opens_and_closes(breaker: CircuitBreaker, time: Time) -> None:
    service = Service()
    guarded = await opened(breaker, service)
    with pytest.raises(CircuitBreakerOpen, match=r"a trial comes in 30\.0 s"):
        await guarded(1)
    assert service.calls == 2
    time.seconds += 30
    assert breaker.state == "half_open"
    service.error = None
    assert await guarded(1) == 1
    assert breaker.state == "closed"


async def test_a_trial_that_fails_opens_the_circuit_anew(breaker: CircuitBreaker, time: Time) -> None:
    service = Service()
    guarded = await opened(breaker, service)
    time.seconds += 30
    with pytest.raises(ConnectionError):
        await guarded(1)
    assert breaker.state == "open"
    time.seconds += 29
    with pytest.raises(CircuitBreakerOpen):
        await guarded(1)


async def test_one_trial_goes_at_a_time_and_one_that_never_ends_makes_room(breaker: CircuitBreaker, time: Time) -> None:
    service = Service()
    await opened(breaker, service)
    time.seconds += 30
    go = asyncio.Event()

    @breaker
    async def slow(number: int) -> int:
        await go.wait()
        return number

    trial = asyncio.create_task(slow(1))
    while breaker._store.read("service").trial_ms is None:  # noqa: ASYNC110 - until the trial has begun
        await asyncio.sleep(0.001)
    with pytest.raises(CircuitBreakerOpen):
        await slow(2)
    time.seconds += 30  # as if its process had died
    go.set()
    assert await slow(2) == 2
    assert breaker.state == "closed"
    assert await trial == 1
    assert breaker.state == "closed"


async def test_a_trial_that_is_cancelled_leaves_the_next_one_its_place(breaker: CircuitBreaker, time: Time) -> None:
    service = Service()
    guarded = await opened(breaker, service)
    time.seconds += 30
    service.error = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await guarded(1)
    service.error = None
    assert await guarded(1) == 1
    assert breaker.state == "closed"


async def test_only_failures_in_a_row_count_and_none_that_are_the_callers(breaker: CircuitBreaker) -> None:
    service = Service()
    guarded = breaker(service.call)
    for error in (OSError("a"), None, OSError("b"), InvalidInput("c"), OSError("d"), TypeError("e"), OSError("f")):
        service.error = error
        with suppress(Exception):
            await guarded(1)
    assert breaker.state == "closed"


async def test_the_errors_that_count_can_be_named(time: Time) -> None:
    breaker = CircuitBreaker("x", failures=1, on=(KeyError,), now=time)
    service = Service()
    guarded = breaker(service.call)
    service.error = OSError("a")
    with pytest.raises(OSError, match="a"):
        await guarded(1)
    assert breaker.state == "closed"
    service.error = KeyError("b")
    with pytest.raises(KeyError):
        await guarded(1)
    assert breaker.state == "open"


def test_a_call_that_takes_too_long_is_stopped_and_counts() -> None:
    async def main() -> None:
        breaker = CircuitBreaker("x", failures=1, timeout=5)
        stopped = []

        @breaker
        async def hangs() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped.append(1)
                raise

        with pytest.raises(TimedOut, match="x: a call took longer than 5 s"):
            await hangs()
        assert stopped == [1]
        with pytest.raises(CircuitBreakerOpen):
            await hangs()

    virtually(main)


async def test_a_stream_that_breaks_counts_and_one_that_is_left_does_not() -> None:
    breaker = CircuitBreaker("x", failures=1)

    @breaker
    async def chunks(fails: bool) -> AsyncIterator[int]:  # noqa: FBT001 - a flag of the test's own
        yield 1
        if fails:
            raise OSError("broken")
        yield 2

    stream = chunks(fails=False)
    assert await anext(stream) == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert breaker.state == "closed"
    with pytest.raises(OSError, match="broken"):
        _ = [one async for one in chunks(fails=True)]
    assert breaker.state == "open"


async def test_a_store_that_is_away_leaves_a_circuit_of_its_own(
    tmp_path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "circuits.db"
    breaker = CircuitBreaker("x", failures=1, store=SharedCircuits(path), now=time)
    path.unlink()
    path.mkdir()
    service = Service()
    service.error = OSError("away")
    guarded = breaker(service.call)
    with pytest.raises(OSError, match="away"):
        await guarded(1)
    with pytest.raises(CircuitBreakerOpen):
        await guarded(1)
    assert [record.action for record in caplog.records] == ["circuits.away"]  # type: ignore[attr-defined]


def test_a_store_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidConfig, match="cannot be used"):
        SharedCircuits(tmp_path / "file" / "circuits.db")


# ---------------------------------------------------------------------------------------------------- bulkhead
async def test_a_full_bulkhead_refuses_with_resource_exhausted() -> None:
    go = asyncio.Event()
    bulkhead = Bulkhead(1, queue_size=1)

    @bulkhead
    async def held(number: int) -> int:
        await go.wait()
        return number

    calls = [asyncio.create_task(held(one)) for one in range(2)]
    while bulkhead.waiting == 0:  # noqa: ASYNC110 - until both have come
        await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted, match="1 calls go on and 1 wait"):
        await held(3)
    go.set()
    assert await asyncio.gather(*calls) == [0, 1]
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)


async def test_a_full_bulkhead_fails_a_run_with_its_code() -> None:
    bulkhead = Bulkhead(1)
    going = asyncio.Event()
    go = asyncio.Event()

    @node(retry=Retry(1))
    @bulkhead
    async def held(number: int) -> int:
        going.set()
        await go.wait()
        return number

    runs = chain(held, name="held")
    first = asyncio.create_task(runs.invoke(1))
    await going.wait()
    with pytest.raises(RunFailed) as failed:
        await runs.invoke(2)
    assert (failed.value.reason, failed.value.retryable) == ("resource_exhausted", True)
    go.set()
    assert await first == 1


def test_who_waits_too_long_for_a_bulkhead_is_refused_and_leaves_no_gap() -> None:
    async def main() -> None:
        bulkhead = Bulkhead(1, queue_size=5, timeout=2)

        @bulkhead
        async def held(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        first = asyncio.create_task(held(3))
        while not bulkhead.running:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await held(1)
        assert await first == 3
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)

    async def cancelled() -> None:
        bulkhead = Bulkhead(1, queue_size=5)

        @bulkhead
        async def held(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        first = asyncio.create_task(held(1))
        while not bulkhead.running:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        waits = asyncio.create_task(held(1))
        while not bulkhead.waiting:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        waits.cancel()
        assert await first == 1
        with suppress(asyncio.CancelledError):
            await waits
        assert (bulkhead.running, bulkhead.waiting) == (0, 0)
        assert await held(2) == 2

    for seed in range(20):
        virtually(main, seed)
        virtually(cancelled, seed)


def test_a_bulkhead_is_one_for_threads_and_event_loops() -> None:
    bulkhead = Bulkhead(1, queue_size=1)
    inside, go = threading.Event(), threading.Event()

    @bulkhead
    def blocks() -> str:
        inside.set()
        go.wait(10)
        return "thread"

    @bulkhead
    async def awaits() -> str:
        return "loop"

    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(blocks()))
    thread.start()
    assert inside.wait(10)

    async def main() -> str:
        waiting = asyncio.create_task(awaits())
        while not bulkhead.waiting:  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            blocks()
        go.set()
        return await waiting

    assert asyncio.run(main()) == "loop"
    thread.join(10)
    assert told == ["thread"]


# --------------------------------------------------------------------------------------------------- rate limit
async def test_a_rate_lets_a_burst_through_and_then_one_after_the_other(time: Time) -> None:
    limited = RateLimit(2, per=1, now=time)(double)
    assert [await limited(1), await limited(2)] == [2, 4]
    with pytest.raises(RateLimitExceeded, match=r"more than 2 calls in 1 s: the next may come in 0\.5 s"):
        await limited(3)
    time.seconds += 0.5
    assert await limited(3) == 6
    with pytest.raises(RateLimitExceeded):
        await limited(4)
    time.seconds += 100
    assert [await limited(1), await limited(2)] == [2, 4]
    with pytest.raises(RateLimitExceeded):
        await limited(3)


def test_who_may_wait_for_a_rate_waits_its_turn() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        began = loop.time()

        @RateLimit(10, per=1, burst=1, wait=0.25, now=loop.time)
        async def when() -> float:
            return round(loop.time() - began, 3)

        outcomes = await asyncio.gather(*(when() for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, RateLimitExceeded) for one in outcomes) == 2
        return sorted(one for one in outcomes if isinstance(one, float))

    assert virtually(main) == [0.0, 0.1, 0.2]


# --------------------------------------------------------------------------------------------- retry as decorator
def test_a_retried_function_is_tried_again_until_its_attempts_are_used_up() -> None:
    async def main() -> None:
        calls: list[int] = []

        @Retry(3, first=1)
        async def fails_until(number: int) -> int:
            calls.append(number)
            if len(calls) < number:
                raise OSError("not yet")
            return number

        began = asyncio.get_running_loop().time()
        assert await fails_until(3) == 3
        assert 1.5 <= asyncio.get_running_loop().time() - began <= 3
        calls.clear()
        with pytest.raises(MaxRetriesExceeded, match="fails_until failed 3 times, the last time with OSError: not yet"):
            await fails_until(9)
        assert len(calls) == 3

    virtually(main)


def test_a_retry_leaves_alone_what_it_cannot_mend() -> None:
    calls: list[int] = []

    @Retry(3, first=0)
    def wrong(number: int) -> int:
        calls.append(number)
        raise InvalidInput("no number")

    with pytest.raises(InvalidInput):
        wrong(1)
    assert calls == [1]


async def test_a_retried_stream_begins_again_only_before_its_first_chunk() -> None:
    calls: list[int] = []

    @Retry(3, first=0)
    async def chunks(good: int) -> AsyncIterator[int]:
        calls.append(good)
        if len(calls) < 2:
            raise OSError("not yet")
        for one in range(good):
            yield one
        raise OSError("broken")

    stream = chunks(2)
    assert [await anext(stream), await anext(stream), len(calls)] == [0, 1, 2]
    with pytest.raises(OSError, match="broken"):
        await anext(stream)
    assert len(calls) == 2


# ------------------------------------------------------------------------------------------------------- hedge
def test_a_hedge_starts_a_second_attempt_and_cancels_who_loses() -> None:
    async def main() -> None:
        ended: list[str] = []

        @Hedge(1)
        async def fetch(seconds: list[float]) -> str:
            mine = seconds.pop(0)
            try:
                await asyncio.sleep(mine)
            except asyncio.CancelledError:
                ended.append(f"cancelled {mine}")
                raise
            return f"after {mine}"

        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await fetch([10, 2]) == "after 2"
        assert (round(loop.time() - began, 6), ended) == (3, ["cancelled 10"])
        assert await fetch([0.5, 9]) == "after 0.5"
        assert len(asyncio.all_tasks()) == 1

    virtually(main)


def test_a_hedge_whose_attempt_fails_waits_for_the_other() -> None:
    async def main() -> None:
        outcomes: list[tuple[float, BaseException | None]] = []

        @Hedge(1)
        async def fetch() -> float:
            seconds, error = outcomes.pop(0)
            await asyncio.sleep(seconds)
            if error is not None:
                raise error
            return seconds

        outcomes[:] = [(2, OSError("first")), (5, None)]
        assert await fetch() == 5
        outcomes[:] = [(0.5, OSError("at once"))]
        with pytest.raises(OSError, match="at once"):
            await fetch()
        outcomes[:] = [(2, OSError("first")), (3, OSError("second"))]
        with pytest.raises(OSError, match="first"):
            await fetch()

    virtually(main)


def test_a_hedge_that_is_cancelled_leaves_nothing_behind() -> None:
    async def main() -> None:
        @Hedge(1)
        async def hangs() -> None:
            await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await hangs()
        assert len(asyncio.all_tasks()) == 1

    virtually(main)


# ------------------------------------------------------------------------------------------------- other executors
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
