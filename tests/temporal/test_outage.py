"""A server that is killed under a run and comes back with its file: the run goes on, and nothing is done anew."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from beluga_stream import Graph, Signal
from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.application.clients.results import NodeChanged
from tests.durable import bench
from tests.temporal_server import TemporalServer

approval = Signal("approval", bool)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TemporalServer]:
    made = TemporalServer(tmp_path, keeps=True)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_run_goes_on_when_its_killed_server_is_back(server: TemporalServer) -> None:
    calls: Counter[str] = Counter()
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def before(number: int) -> int:
        calls["before"] += 1
        return number + 1

    async def meanwhile(number: int) -> int:
        calls["meanwhile"] += 1
        entered.set()
        await may_end.wait()
        return number * 10

    async def after(number: int, ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
        calls["after"] += 1
        return f"{number} {ok}"

    graph = Graph[int, str]("durable-outage", durable=True)
    held = graph.add_node(meanwhile, graph.add_node(before, graph.input))
    graph.set_finish_point(graph.add_node(after, held, graph.wait(approval, after=held, timeout=600)))
    client = await TemporalConnection(server.address).client()
    async with asyncio.timeout(100), bench(client, [graph]) as durable:
        run = await durable.start(graph, 3)
        await entered.wait()
        server.kill()
        may_end.set()  # what it gives can be told to nobody yet
        await asyncio.to_thread(server.start)
        async with aclosing(durable.runs.follow(run)) as events:
            async for event in events:
                if isinstance(event, NodeChanged) and (event.node, event.status) == ("approval", "waiting"):
                    break
            server.kill()
            await asyncio.to_thread(server.start)
            await durable.signal(run, "approval", value=True)
            assert await durable.runs.result(run) == "40 True"
        await client.get_workflow_handle(run).result()
        assert await durable.workflows.describe(run) == "succeeded"
    assert (calls["before"], calls["after"]) == (1, 1)
    assert calls["meanwhile"] in {1, 2}, "who was at work may be at work again, and no other"
