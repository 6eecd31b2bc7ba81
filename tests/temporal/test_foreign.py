"""A workflow that is not the run's may have its id: it is never taken for the run."""

import secrets

import pytest
from temporalio.client import Client

from beluga_stream import Graph
from beluga_stream.adapters.temporal.workflows import TemporalWorkflows
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import Parent, RetryRequested
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.errors import InvalidState
from tests.durable import Bench, Deployed


async def increment(number: int) -> int:
    return number + 1


one = Graph[int, int]("durable-one", durable=True)
one.set_finish_point(one.add_node(increment, one.input))


@pytest.fixture
def made(temporal: Client) -> Bench:
    """No worker: what is started stays as it was started."""
    return Bench(temporal, Deployed([one.compile()]))


def someone() -> tuple[RunId, Parent]:
    root = RunId(secrets.token_hex(16))
    return RunId(f"{root}.sub"), Parent(root, root, NodeKey("sub"))


@pytest.mark.parametrize("over", [False, True])
async def test_an_id_that_another_workflow_has_refuses_the_start(temporal: Client, made: Bench, *, over: bool) -> None:
    run, parent = someone()
    other = await temporal.start_workflow("something-else", id=run, task_queue=made.task_queue)
    if over:
        await other.terminate("enough")
    with pytest.raises(InvalidState, match="was not started for this run"):
        await made.start(one, 1, parent=parent, run=run)
    with pytest.raises(InvalidState):
        await made.workflows.retry(RetryRequested(run=run, key=parent.key, at_ms=0, id="1"))
    if not over:
        await other.terminate("enough")


async def test_a_run_of_another_engine_in_the_namespace_refuses_the_start(made: Bench) -> None:
    run, parent = someone()
    ours, names = made.workflows, Topics(prefix="staging", partitions=2)
    made.workflows = TemporalWorkflows(made._connected, names, made._definition, task_queue=made.task_queue)
    await made.start(one, 1, parent=parent, run=run)
    made.workflows = ours
    with pytest.raises(InvalidState):
        await made.start(one, 1, parent=parent, run=run)


async def test_a_run_that_nobody_s_node_asked_for_refuses_the_start(made: Bench) -> None:
    run, parent = someone()
    await made.start(one, 1, run=run)
    with pytest.raises(InvalidState):
        await made.start(one, 1, parent=parent, run=run)


async def test_the_run_itself_is_left_alone_when_it_is_asked_for_again(made: Bench) -> None:
    run, parent = someone()
    for _ in range(2):
        await made.start(one, 1, parent=parent, run=run)
    assert await made.workflows.describe(run) == "running"
