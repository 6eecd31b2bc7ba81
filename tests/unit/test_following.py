"""Workflows of an orchestrator are followed to their end, up to a bound, and begun whatever it is."""

import asyncio
import logging
from typing import Any, cast

import pytest

from beluga_stream.api.workflows import Following
from beluga_stream.ports.spans import NoSpans
from beluga_stream.ports.telemetry import NoTelemetry
from beluga_stream.ports.workflow_runner import Started, WorkflowRunner


class Waiting:
    """An engine whose workflows end when they are told to."""

    def __init__(self) -> None:
        self.ends: dict[str, asyncio.Event] = {}

    async def start(self) -> Started:
        started = Started(f"w{len(self.ends)}")
        self.ends[started.workflow_id] = asyncio.Event()
        return started

    async def result(self, started: Started) -> Any:
        await self.ends[started.workflow_id].wait()


async def test_those_beyond_what_is_followed_begin_all_the_same_and_are_not_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("beluga_stream.api.workflows.MOST_FOLLOWED", 2)
    engine = Waiting()
    following = Following(NoTelemetry(), NoSpans(), logging.getLogger("test.following"))
    runner = cast("WorkflowRunner", engine)
    begun = [await following.executed("waits", runner, engine.start) for _ in range(4)]
    assert [one.workflow_id for one in begun] == ["w0", "w1", "w2", "w3"]
    assert following.tally.snapshot().active == 2
    assert [(record.action, record.levelname) for record in caplog.records] == [("workflow.unfollowed", "WARNING")]
    engine.ends["w0"].set()
    async with asyncio.timeout(10):
        while len(following._tasks) > 1:  # noqa: ASYNC110 - until it has heard, which tells no event
            await asyncio.sleep(0)
        await following.executed("waits", runner, engine.start)
    assert following.tally.snapshot().active == 2
    await following.aclose()
    assert following.tally.snapshot().active == 0
