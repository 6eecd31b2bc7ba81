"""Waits over days, on Temporal's test server, whose time goes as fast as nothing happens."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from beluga_stream import Graph
from beluga_stream.adapters.temporal.converter import converter
from beluga_stream.application.results import NodeChanged
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import RunFailed
from tests.durable import Bench, bench
from tests.temporal import works

_SERVER = str(Path(sys.executable).with_name("temporal-test-server"))


@pytest.fixture
async def fast() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=_SERVER, data_converter=converter(None)
    ) as environment:
        yield environment


async def reminded(durable: Bench, run: RunId) -> int:
    """How often the wait has been told."""
    async with aclosing(durable.runs.follow(run)) as events:
        told = [event async for event in events if isinstance(event, NodeChanged)]
    return sum((event.node, event.status) == ("approval", "waiting") for event in told)


async def test_an_approval_comes_after_a_reminder_of_the_first_day(fast: WorkflowEnvironment) -> None:
    async with bench(fast.client, [works.asking]) as durable:
        run = await durable.start(works.asking, 3)
        await fast.sleep(timedelta(days=1, hours=12))
        await durable.signal(run, "approval", value=True)
        await fast.client.get_workflow_handle(run).result()
        assert await durable.runs.result(run, timeout_seconds=30) == "3 True"
        assert await reminded(durable, run) == 2


async def test_an_approval_that_does_not_come_in_two_days_is_a_timeout(fast: WorkflowEnvironment) -> None:
    async with bench(fast.client, [works.asking]) as durable:
        run = await durable.start(works.asking, 3)
        await fast.sleep(timedelta(days=1, hours=23))
        assert await durable.workflows.describe(run) == "running"
        await fast.sleep(timedelta(hours=2))
        with pytest.raises(RunFailed, match="no signal 'approval' came in time") as late:
            await durable.runs.result(run, timeout_seconds=30)
        assert late.value.reason == "timeout"
        assert await reminded(durable, run) == 2


async def test_what_a_run_keeps_is_made_new_each_day(fast: WorkflowEnvironment) -> None:
    async def large(number: int) -> str:
        return "x" * number

    def with_size(text: str, ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
        return f"{len(text)} {ok}"

    graph = Graph[int, str]("durable-large", durable=True, timeout=timedelta(days=7))
    text = graph.add_node(large, graph.input)
    graph.set_finish_point(
        graph.add_node(with_size, text, graph.wait(works.approval, after=text, timeout=timedelta(days=5)))
    )
    async with bench(fast.client, [graph]) as durable:
        run = await durable.start(graph, 200_000)
        await fast.sleep(timedelta(hours=1))
        [ref] = durable.blobs.stored
        durable.blobs._new_ms[ref] = 0
        await fast.sleep(timedelta(days=1))
        assert durable.blobs._new_ms[ref] > 0
        await durable.signal(run, "approval", value=True)
        assert await durable.runs.result(run, timeout_seconds=30) == "200000 True"
