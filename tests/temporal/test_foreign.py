"""A workflow that is not the run's may have its id: it is never taken for the run."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus

from beluga_stream import Graph
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.temporal.workflows import TemporalWorkflows
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.durable.bridge import Bridge
from beluga_stream.application.topics import Topics
from beluga_stream.domain.events import CancelRequested, Parent, RetryRequested, RunRequested, SignalReceived
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import InvalidState
from beluga_stream.ports.log import Record
from tests.durable import TOPICS, Bench, Deployed

_FROM_OUTSIDE = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
)


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


async def test_an_earlier_run_of_the_id_that_goes_on_gives_way_once(made: Bench) -> None:
    run, parent = someone()
    executions: list[str] = []
    for began in (1, 1, 2, 2, 1):
        await made.start(one, 1, parent=replace(parent, began=began), run=run)
        executions.append((await made.client.get_workflow_handle(run).describe()).run_id)
    earlier, later = executions[0], executions[2]
    assert executions == [earlier, earlier, later, later, later]
    given_way = await made.client.get_workflow_handle(run, run_id=earlier).describe()
    assert given_way.status is WorkflowExecutionStatus.TERMINATED


async def test_a_run_that_nobody_s_node_asked_for_refuses_the_start(made: Bench) -> None:
    run, parent = someone()
    await made.start(one, 1, run=run)
    with pytest.raises(InvalidState):
        await made.start(one, 1, parent=parent, run=run)


async def _other_kind(made: Bench, run: RunId) -> None:
    await made.client.start_workflow("something-else", id=run, task_queue=made.task_queue)


async def _other_engine(made: Bench, run: RunId) -> None:
    names = Topics(prefix="staging", partitions=2)
    theirs = TemporalWorkflows(made._connected, names, made._definition, task_queue=made.task_queue)
    ours, made.workflows = made.workflows, theirs
    await made.start(one, 1, parent=someone()[1], run=run)
    made.workflows = ours


async def _nobodys_node(made: Bench, run: RunId) -> None:
    await made.start(one, 1, run=run)


@pytest.mark.parametrize("foreign", [_other_kind, _other_engine, _nobodys_node])
async def test_nothing_that_is_asked_behind_a_refused_start_reaches_the_other(
    made: Bench, foreign: Callable[[Bench, RunId], Awaitable[None]]
) -> None:
    """Through the bridge, which takes requests of one run in their order."""
    run, parent = someone()
    await foreign(made, run)
    about: dict[str, Any] = {"run": run, "key": parent.key, "at_ms": 0}
    digest = {"graph": "durable-one", "definition": one.compile().definition.hash, "input": Inline(1), "digest": ""}
    asked = [
        RunRequested(**about, **digest, parent=parent),
        SignalReceived(**about, signal="go", id="1", value=Inline(1)),
        CancelRequested(**about, reason="enough"),
    ]
    catalog = Catalog(made.log, TOPICS)
    bridge = Bridge(
        topics=TOPICS, workflows=made.workflows, catalog=catalog, appender=made.log, payloads=made.payloads,
        clock=SystemClock(),
    )  # fmt: skip
    records = [
        Record(TOPICS.workflow_requests, 0, at, parent.key.encode(), codec.workflow_requests.encode(each), 0, ())
        for at, each in enumerate(asked)
    ]
    done = await bridge.handle(records)
    assert done is not None
    await done
    answers = made.log.records(TOPICS.run_events, TOPICS.place(parent.key)[1])
    [told] = [codec.incoming.decode(answer.value) for answer in answers]
    assert (told.status, told.failure.code) == ("rejected", "invalid_state")
    history = await made.client.get_workflow_handle(run).fetch_history()
    assert [event.event_type for event in history.events if event.event_type in _FROM_OUTSIDE] == []


async def test_a_workflow_of_another_kind_is_not_the_run_that_is_looked_after(made: Bench) -> None:
    run, _ = someone()
    await _other_kind(made, run)
    assert await made.workflows.describe(run) == "unknown"


async def test_signals_and_cancels_reach_the_run_itself(made: Bench) -> None:
    run, parent = someone()
    await made.start(one, 1, parent=parent, run=run)
    await made.workflows.signal(SignalReceived(run=run, key=parent.key, at_ms=0, signal="go", id="1", value=Inline(1)))
    await made.workflows.cancel(CancelRequested(run=run, key=parent.key, at_ms=0, reason="enough"))
    history = await made.client.get_workflow_handle(run).fetch_history()
    assert [event.event_type for event in history.events if event.event_type in _FROM_OUTSIDE] == list(_FROM_OUTSIDE)


async def test_the_run_itself_is_left_alone_when_it_is_asked_for_again(made: Bench) -> None:
    run, parent = someone()
    for _ in range(2):
        await made.start(one, 1, parent=parent, run=run)
    assert await made.workflows.describe(run) == "running"
