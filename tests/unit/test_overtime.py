"""How long the end of a run elsewhere is waited for when its time is up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from beluga_stream.bootstrap import overtime
from beluga_stream.bootstrap.overtime import Overtime
from beluga_stream.errors import NotFound, TimedOut


class Elsewhere:
    """An engine that says how its run stands when it is asked, and only then lets the run end."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.asked = asyncio.Event()

    async def told(self) -> str:
        self.asked.set()
        if self.status == "silent":
            await asyncio.Event().wait()
        if self.status == "unknown":
            raise NotFound("there is no such run (yet)")
        return self.status

    async def result(self) -> str:
        await self.asked.wait()
        await asyncio.sleep(0)
        return self.status if self.status != "running" else await asyncio.Event().wait() or ""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtime, "LATE_SECONDS", 0.02)


@pytest.mark.parametrize("status", ["compensating", "failed"])
async def test_a_run_that_is_being_ended_is_waited_for(status: str) -> None:
    engine = Elsewhere(status)
    async with Overtime("trip", 0.01, engine.told) as waiting:
        assert await waiting.wait(engine.result()) == status


@pytest.mark.parametrize("status", ["running", "unknown", "silent"])
async def test_a_run_that_nobody_ends_is_left(status: str) -> None:
    engine = Elsewhere(status)
    async with Overtime("trip", 0.01, engine.told) as waiting:
        with pytest.raises(TimedOut, match=r"'trip' did not end within 0\.01 s") as late:
            await waiting.wait(asyncio.Event().wait())
        assert late.value.ids == {"graph": "trip"}


async def test_who_was_busy_elsewhere_when_the_time_was_up_is_told_at_once() -> None:
    async def ticks() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    engine, coming = Elsewhere("running"), ticks()
    async with Overtime("trip", 0.01, engine.told) as waiting:
        assert await waiting.wait(anext(coming)) == 1
        await engine.asked.wait()
        with pytest.raises(TimedOut):
            await waiting.wait(anext(coming))


async def test_a_timeout_of_the_run_itself_passes_through() -> None:
    async def broken() -> None:
        raise TimeoutError("of its own")

    async with Overtime("trip", 60, Elsewhere("running").told) as waiting:
        with pytest.raises(TimeoutError, match="of its own"):
            await waiting.wait(broken())
