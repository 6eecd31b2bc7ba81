"""A rate limit lets so many in per period."""

import asyncio

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
