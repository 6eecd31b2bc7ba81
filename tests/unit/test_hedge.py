"""A hedge starts a second attempt where the first is slow."""

import asyncio
from functools import partial

import pytest

from beluga_stream import Hedge
from tests.unit.guarded import virtually


def test_a_hedge_starts_a_second_attempt_and_cancels_who_loses() -> None:
    async def main() -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()

        @Hedge(1)
        async def fetch(seconds: list[float]) -> str:
            mine = seconds.pop(0)
            try:
                await asyncio.sleep(mine)
            except asyncio.CancelledError:
                ended.put_nowait(f"cancelled {mine}")
                raise
            return f"after {mine}"

        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await fetch([10, 2]) == "after 2"
        assert await asyncio.wait_for(ended.get(), 1) == "cancelled 10"
        assert round(loop.time() - began, 6) == 3
        assert await fetch([0.5, 9]) == "after 0.5"
        await _alone()

    virtually(main)


async def _alone() -> None:
    """Until no other task is left."""
    async with asyncio.timeout(10):
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


def test_a_result_does_not_wait_for_the_end_of_who_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        seconds = [60.0, 0.0]

        @Hedge(1)
        async def fetch(cleans_up: float) -> str:
            try:
                await asyncio.sleep(seconds.pop(0))
            except asyncio.CancelledError:
                await asyncio.sleep(cleans_up)
                raise OSError("nobody asks any more") from None
            return "won"

        loop = asyncio.get_running_loop()
        for cleans_up in (2, 8):
            seconds[:] = [60, 0]
            began = loop.time()
            assert await fetch(cleans_up) == "won"
            assert round(loop.time() - began, 6) == 1
            await _alone()
            assert round(loop.time() - began, 6) == 1 + cleans_up

    virtually(main)
    assert [record.action for record in caplog.records] == ["hedge"]  # type: ignore[attr-defined]


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
