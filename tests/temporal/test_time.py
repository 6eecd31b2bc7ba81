"""Waits over days, on Temporal's test server, whose time goes as fast as nothing happens."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from beluga_stream import Graph
from beluga_stream.adapters.crypto.aesgcm import AesGcm
from beluga_stream.adapters.temporal.converter import converter
from beluga_stream.application.clients.results import NodeChanged
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


@pytest.fixture
def soon_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution that is three hours old has a long history."""
    monkeypatch.setattr(
        workflow.Info,
        "is_continue_as_new_suggested",
        lambda info: workflow.now() - info.start_time > timedelta(hours=3),
    )


@pytest.mark.usefixtures("soon_long")
async def test_a_run_that_goes_on_in_many_executions_keeps_the_day(fast: WorkflowEnvironment) -> None:
    async def large(number: int) -> str:
        return "x" * number

    def with_size(text: str, ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
        return f"{len(text)} {ok}"

    graph = Graph[int, str]("durable-often", durable=True, timeout=timedelta(days=7))
    text = graph.add_node(large, graph.input)
    wait = graph.wait(works.approval, after=text, timeout=timedelta(days=6))
    graph.set_finish_point(graph.add_node(with_size, text, wait))
    async with bench(fast.client, [graph]) as durable:
        run = await durable.start(graph, 200_000)
        first = (await fast.client.get_workflow_handle(run).describe()).run_id
        await fast.sleep(timedelta(hours=1))
        [ref] = durable.blobs.stored
        durable.blobs._new_ms[ref] = 0
        for number in range(5):
            await fast.sleep(timedelta(hours=4))
            await durable.signal(run, "another", value=number, number=f"other {number}")
        assert durable.blobs._new_ms[ref] == 0
        assert (await fast.client.get_workflow_handle(run).describe()).run_id != first
        await fast.sleep(timedelta(hours=5))
        assert durable.blobs._new_ms[ref] > 0
        await durable.signal(run, "approval", value=True)
        assert await durable.runs.result(run, timeout_seconds=30) == "200000 True"


@pytest.mark.usefixtures("soon_long")
async def test_blobs_that_others_name_are_made_new_as_they_are(fast: WorkflowEnvironment) -> None:
    async def text(number: int) -> str:
        return "y" * 1_500

    def count(texts: list[str], ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
        return f"{len(texts)} {ok}"

    cipher = AesGcm({"k": bytes(32)})
    client = Client(fast.client.service_client, data_converter=converter(cipher))
    graph = Graph[list[int], str]("durable-parts", durable=True, timeout=timedelta(days=7))
    texts = graph.add_map(text, graph.input, max_parallel=64)
    wait = graph.wait(works.approval, after=texts, timeout=timedelta(days=5))
    graph.set_finish_point(graph.add_node(count, texts, wait))
    async with bench(client, [graph], cipher=cipher) as durable:
        run = await durable.start(graph, list(range(200)))
        await fast.sleep(timedelta(hours=1))
        before = dict.fromkeys(durable.blobs.stored, 0)
        durable.blobs._new_ms.update(before)
        await fast.sleep(timedelta(days=1))
        new = [ref for ref in before if durable.blobs._new_ms[ref]]
        assert len(new) > 1, "a manifest, and its pages"
        for ref in set(before).difference(new):
            del durable.blobs.stored[ref]
        await durable.signal(run, "approval", value=True)
        assert await durable.runs.result(run, timeout_seconds=30) == "200 True"
