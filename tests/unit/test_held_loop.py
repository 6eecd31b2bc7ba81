"""Who holds the event loop is named, once, and it is said when the loop goes on."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from beluga_stream.bootstrap.engine import _looked_after
from beluga_stream.bootstrap.held_loop import told_when_held
from beluga_stream.bootstrap.observing import Standing
from beluga_stream.bootstrap.settings import Settings


def told(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if getattr(each, "action", "") == action]


def block(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)


async def test_a_function_that_blocks_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    with told_when_held(look=0.05, held=0.2):
        block(lambda: told(caplog, "loop_held"))
        for _ in range(2_000):
            if told(caplog, "loop_freed"):
                break
            await asyncio.sleep(0.01)
        assert told(caplog, "loop_freed")
    (held,) = told(caplog, "loop_held")
    assert re.match(
        r"(block|<lambda>|told|<listcomp>) \(unit/test_held_loop.py, line \d+\) has held the event loop", held
    )


async def test_nothing_is_said_of_a_loop_that_waits(caplog: pytest.LogCaptureFixture) -> None:
    with told_when_held(look=0.01, held=0.2):
        await asyncio.sleep(0.5)
    assert not told(caplog, "loop_held")


async def test_a_process_is_not_told_of_its_own_telemetry_that_holds_its_end_up() -> None:
    def looking() -> bool:
        return any(thread.name == "beluga-held-loop" for thread in threading.enumerate())

    class Closing(Standing):
        looked = True

        @asynccontextmanager
        async def open(self) -> AsyncIterator[None]:
            yield
            self.looked = looking()

    standing = Closing(Settings(), "beluga-worker")
    async with _looked_after(standing):
        assert looking()
    assert not standing.looked
