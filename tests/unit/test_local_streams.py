"""The chunks of a run here: kept while somebody may read them, and no longer."""

from beluga_stream.application.local.local_streams import LocalStreams
from beluga_stream.domain.commands import PublishNode, PublishRun
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.state import NodeStatus, RunStatus

RUN, NODE, FIRST = RunId("a" * 32), NodeKey("words"), Incarnation("first")


async def test_they_outlive_their_node_and_not_their_run() -> None:
    streams = LocalStreams()
    streams.add(RUN, NODE, FIRST, "well", resumed=False)
    streams.heed(RUN, PublishNode(NODE, NodeStatus.SUCCEEDED, 2, 1))
    assert [chunks async for chunks in streams.read(RUN, NODE)] == [["well"]]
    streams.heed(RUN, PublishRun(RunStatus.SUCCEEDED, 3))
    assert streams.emitted(RUN, NODE) == ([], None)


async def test_a_run_that_failed_may_go_on_with_them() -> None:
    streams = LocalStreams()
    streams.add(RUN, NODE, FIRST, "well", resumed=False)
    streams.heed(RUN, PublishRun(RunStatus.FAILED, 3))
    assert streams.emitted(RUN, NODE) == (["well"], FIRST)


async def test_who_reads_at_the_end_of_a_run_reads_all_of_it() -> None:
    streams = LocalStreams()
    streams.add(RUN, NODE, FIRST, "well", resumed=False)
    reading = streams.read(RUN, NODE)
    assert await anext(reading) == ["well"]
    streams.add(RUN, NODE, FIRST, "done", resumed=False)
    streams.heed(RUN, PublishNode(NODE, NodeStatus.SUCCEEDED, 2, 1))
    streams.heed(RUN, PublishRun(RunStatus.SUCCEEDED, 3))
    assert [chunks async for chunks in reading] == [["done"]]
