"""A hedge starts a second attempt where the first is slow."""

import asyncio
from functools import partial

import pytest

from beluga_stream import Hedge
from tests.unit.guarded import virtually


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


def test_a_hedge_stands_around_a_partial() -> None:
    async def product(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a * b

    async def main() -> None:
        assert await Hedge(1)(partial(product, b=3))(2) == 6

    virtually(main)
