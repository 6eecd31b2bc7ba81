"""Who holds the event loop is named, once, and it is said when the loop goes on."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest

from beluga_stream.bootstrap.held_loop import told_when_held


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
