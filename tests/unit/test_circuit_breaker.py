"""A circuit breaker opens, half-opens and closes, alone and shared with other processes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import CircuitBreaker, SharedCircuits
from beluga_stream.domain.circuit import Circuit
from beluga_stream.errors import (
    CircuitBreakerOpen,
    InvalidConfig,
    InvalidInput,
    TimedOut,
)
from tests.unit.guarded import Time, virtually


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


@pytest.fixture
def time() -> Time:
    return Time()


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


async def test_a_trial_that_is_cancelled_while_it_is_let_in_leaves_the_next_one_its_place(
    time: Time, tmp_path: Path
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(SharedCircuits):
        """Answers when it is told to."""

        def update(self, name: str, change: Callable[[Circuit], tuple[Circuit, Any]]) -> Any:
            found = super().update(name, change)
            entered.set()
            go_on.wait(30)
            return found

    go_on.set()
    breaker = CircuitBreaker("service", failures=2, reset_after=30, store=Slow(tmp_path / "circuits.db"), now=time)
    service = Service()
    guarded = await opened(breaker, service)
    service.error = None
    time.seconds += 30
    entered.clear()
    go_on.clear()
    trial = asyncio.create_task(guarded(1))
    await asyncio.to_thread(entered.wait, 30)
    trial.cancel()
    go_on.set()
    await asyncio.wait({trial}, timeout=30)
    assert trial.cancelled()
    assert service.calls == 2
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


async def test_a_success_ends_the_row_also_of_a_call_that_began_before_it(breaker: CircuitBreaker) -> None:
    go = asyncio.Event()
    begun = asyncio.Event()

    @breaker
    async def slow() -> None:
        begun.set()
        await go.wait()

    @breaker
    async def fails() -> None:
        raise OSError("away")

    slowly = asyncio.create_task(slow())
    await begun.wait()
    with pytest.raises(OSError, match="away"):
        await fails()
    go.set()
    await slowly
    with pytest.raises(OSError, match="away"):
        await fails()
    assert breaker.state == "closed"


@pytest.mark.parametrize("seconds", [1, 29, 31, 3_600])
async def test_a_clock_that_is_set_back_keeps_a_circuit_open_no_longer_than_from_then_on(
    breaker: CircuitBreaker, time: Time, seconds: int
) -> None:
    service = Service()
    guarded = await opened(breaker, service)
    service.error = None
    time.seconds -= seconds
    with suppress(CircuitBreakerOpen):
        await guarded(1)
    time.seconds += 30
    assert breaker.state != "open"
    assert await guarded(1) == 1
    assert breaker.state == "closed"


@pytest.mark.parametrize("on", [KeyError, (KeyError,), [KeyError]])
async def test_the_errors_that_count_can_be_named(time: Time, on: Any) -> None:
    breaker = CircuitBreaker("x", failures=1, on=on, now=time)
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


@pytest.mark.parametrize("on", [None, ConnectionRefusedError])
def test_a_call_that_takes_too_long_is_stopped_and_counts(on: Any) -> None:
    async def main() -> None:
        breaker = CircuitBreaker("x", failures=1, timeout=5, on=on)
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


async def test_a_file_that_was_deleted_is_made_anew(
    tmp_path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "circuits.db"
    breaker, other = (CircuitBreaker("x", failures=1, store=SharedCircuits(path), now=time) for _ in range(2))
    path.unlink()
    assert other.state == "closed"
    path.unlink()
    service = Service()
    service.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await breaker(service.call)(1)
    assert (breaker.state, other.state) == ("open", "open")
    assert not caplog.records


def test_a_store_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidConfig, match="cannot be used"):
        SharedCircuits(tmp_path / "file" / "circuits.db")
