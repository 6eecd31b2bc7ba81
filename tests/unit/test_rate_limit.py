"""A rate limit lets so many in per period."""

import asyncio
from contextlib import suppress

import pytest

from beluga_stream import RateLimit
from beluga_stream.errors import (
    RateLimitExceeded,
)
from tests.unit.guarded import Time, double, virtually


async def test_a_rate_lets_a_burst_through_and_then_one_after_the_other() -> None:
    time = Time()
    limited = RateLimit(2, per=1, now=time)(double)
    assert [await limited(1), await limited(2)] == [2, 4]
    with pytest.raises(RateLimitExceeded, match=r"calls come faster than 2 in 1 s: the next may come in 0\.5 s"):
        await limited(3)
    time.seconds += 0.5
    assert await limited(3) == 6
    with pytest.raises(RateLimitExceeded):
        await limited(4)
    time.seconds += 100
    assert [await limited(1), await limited(2)] == [2, 4]
    with pytest.raises(RateLimitExceeded):
        await limited(3)


@pytest.mark.parametrize(("burst", "most"), [(None, 19), (4, 13), (1, 10)])
async def test_a_period_has_no_more_calls_than_the_rate_and_the_burst_allow(burst: int | None, most: int) -> None:
    time = Time()
    limited = RateLimit(10, per=1, burst=burst, now=time)(double)
    begun: list[float] = []
    for _ in range(3 * 64):  # a step is a power of two: adding them up is exact
        for _ in range(3):
            with suppress(RateLimitExceeded):
                await limited(1)
                begun.append(time.seconds)
        time.seconds += 1 / 64
    assert max(sum(start <= other < start + 1 for other in begun) for start in begun) == most


def test_the_moments_of_those_that_waited_and_left_are_for_those_that_come() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        began = loop.time()

        @RateLimit(10, per=1, burst=1, wait=0.45, now=loop.time)
        async def when() -> float:
            return round(loop.time() - began, 3)

        first: list[asyncio.Task[float]] = []
        for _ in range(5):
            first.append(asyncio.create_task(when()))
            await asyncio.sleep(0.01)
        for task in first[1:4]:
            task.cancel()
        await asyncio.sleep(0.1)  # the moment of the second is over
        outcomes = await asyncio.gather(first[0], first[4], *(when() for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, RateLimitExceeded) for one in outcomes) == 1
        return sorted(one for one in outcomes if isinstance(one, float))

    assert virtually(main) == [0.0, 0.2, 0.3, 0.4, 0.5, 0.6]


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
