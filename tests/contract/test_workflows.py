"""What every host of durable runs must do: one in this process, and Temporal."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from beluga_stream import Graph, Retry, Signal
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.application import codec
from beluga_stream.application.clients.inner import RunStream
from beluga_stream.application.clients.results import NodeChanged
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.messages import Progress
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.events import (
    CancelRequested,
    ChildFinished,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
)
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import NotFound
from beluga_stream.ports.workflows import Workflows
from beluga_stream.testing.workflows import LocalWorkflows
from tests.durable import TOPICS, Deployed, bench

go = Signal("go", int)
calls: list[int] = []
broken: set[int] = set()


async def count(value: int) -> int:
    calls.append(value)
    if value in broken:
        raise ValueError("broken")
    return value + 1


async def add(value: int, more: int) -> int:
    return value + more


waiting = Graph[int, int]("waiting", durable=True)
counted = waiting.add_node(count, waiting.input)
told = waiting.wait(go, after=counted, timeout=600, name="told")
waiting.set_finish_point(waiting.add_node(add, counted, told))

failing = Graph[int, int]("failing", durable=True)
failing.set_finish_point(failing.add_node(count, failing.input, retry=Retry(1)))

GRAPHS = (waiting, failing)


@dataclass
class Hosted:
    """A host, with the log that it tells."""

    workflows: Workflows
    log: MemoryLog
    terminate: Callable[[RunId], Awaitable[None]]

    async def start(self, graph: Graph[int, int], value: int, began: int = 0) -> RunRequested:
        """Start a run as the child of one of nobody's."""
        root = RunId(secrets.token_hex(16))
        request = RunRequested(
            run=RunId(f"{root}.sub"),
            key=root,
            at_ms=SystemClock().now_ms(),
            graph=graph.name,
            definition=graph.compile().definition.hash,
            input=Inline(value),
            digest="d",
            parent=Parent(root, root, NodeKey("sub"), began),
        )
        await self.workflows.start(request)
        return request

    def ends(self, request: RunRequested) -> list[ChildFinished]:
        """What the run that started it was told."""
        key, partition = TOPICS.place(request.key)
        events = [codec.incoming.decode(r.value) for r in self.log.records(TOPICS.run_events, partition)]
        return [event for event in events if isinstance(event, ChildFinished) and event.run.encode() == key]

    async def end(self, request: RunRequested, number: int = 1) -> ChildFinished:
        async with asyncio.timeout(30):
            while len(self.ends(request)) < number:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.02)
        return self.ends(request)[-1]

    async def shown(self, request: RunRequested, node: str, status: str) -> None:
        """Wait until readers of the parent see a node of the run so."""
        _, partition = TOPICS.place(request.key)
        assert request.parent is not None
        async with asyncio.timeout(30):
            while True:
                stream = RunStream(request.parent.run)
                for record in self.log.records(TOPICS.run_results, partition):
                    for event in stream.read(codec.results.decode(record.value), ""):
                        if isinstance(event, NodeChanged) and (event.node, event.status) == (f"sub/{node}", status):
                            return
                await asyncio.sleep(0.02)

    def signal(self, request: RunRequested, value: int, number: str = "1") -> Awaitable[None]:
        event = SignalReceived(
            run=request.run, key=request.key, at_ms=0, signal="go", id=number, value=Inline(value), parent=None
        )
        return self.workflows.signal(event)

    def cancel(self, run: RunId) -> Awaitable[None]:
        return self.workflows.cancel(CancelRequested(run=run, key=run.partition(".")[0], at_ms=0, reason="no more"))

    def retry(self, request: RunRequested, number: str) -> Awaitable[None]:
        return self.workflows.retry(
            RetryRequested(run=request.run, key=request.key, at_ms=SystemClock().now_ms(), id=number)
        )


async def in_process(stack: AsyncExitStack) -> Hosted:
    log = MemoryLog()
    log.create(TOPICS.specs(["default"]))
    host = LocalWorkflows(
        TOPICS,
        Deployed(graph.compile() for graph in GRAPHS).programs,
        appender=log,
        payloads=Payloads(MemoryBlobs()),
        executions=Executions(),
        clock=SystemClock(),
    )
    stack.push_async_callback(host.close)
    return Hosted(host, log, host.terminate)


async def on_temporal(stack: AsyncExitStack, address: str) -> Hosted:
    client = await TemporalConnection(address).client()
    made = await stack.enter_async_context(bench(client, GRAPHS))

    async def terminate(run: RunId) -> None:
        await client.get_workflow_handle(run).terminate("by hand")

    return Hosted(made.workflows, made.log, terminate)


@pytest.fixture(scope="session", params=["in process", pytest.param("temporal", marks=pytest.mark.temporal)])
def address(request: pytest.FixtureRequest) -> str | None:
    """Where Temporal is; None for the host that is in this process."""
    return None if request.param == "in process" else str(request.getfixturevalue("temporal_address"))


@pytest.fixture
async def hosted(address: str | None) -> AsyncIterator[Hosted]:
    calls.clear()
    broken.clear()
    async with AsyncExitStack() as stack:
        yield await (in_process(stack) if address is None else on_temporal(stack, address))


async def test_a_run_tells_readers_how_it_goes_and_its_parent_how_it_ended(hosted: Hosted) -> None:
    request = await hosted.start(waiting, 1)
    await hosted.shown(request, "told", "waiting")
    assert await hosted.workflows.describe(request.run) == "running"
    await hosted.signal(request, 40)
    end = await hosted.end(request)
    assert (end.node, end.child, end.status, end.output) == ("sub", request.run, "succeeded", Inline(42))
    assert end.counter > 0
    await hosted.shown(request, "add", "succeeded")


async def test_what_is_said_twice_is_done_once(hosted: Hosted) -> None:
    request = await hosted.start(waiting, 1)
    await hosted.workflows.start(request)
    await hosted.shown(request, "told", "waiting")
    await hosted.signal(request, 40)
    await hosted.end(request)
    await hosted.workflows.start(request)
    assert calls == [1]
    assert len(hosted.ends(request)) == 1


async def test_a_later_run_of_a_forgotten_id_gets_a_run_of_its_own(hosted: Hosted) -> None:
    def begun(request: RunRequested, at_ms: int, value: int) -> RunRequested:
        assert request.parent is not None
        return replace(request, input=Inline(value), parent=replace(request.parent, began=at_ms))

    earlier = await hosted.start(failing, 1, began=1_000)
    first = await hosted.end(earlier)
    await _until(hosted, earlier.run, "succeeded")
    for repeated in (0, 1_000):
        await hosted.workflows.start(begun(earlier, repeated, 1))
    later = begun(earlier, 2_000, 5)
    for _ in range(2):
        await hosted.workflows.start(later)
    assert (await hosted.end(later, 2)).output != first.output
    await _until(hosted, later.run, "succeeded")
    await hosted.workflows.start(later)
    assert len(hosted.ends(later)) == 2


async def test_a_later_run_takes_the_place_of_one_that_goes_on_though_whoever_began_it_is_forgotten(
    hosted: Hosted,
) -> None:
    earlier = await hosted.start(waiting, 1, began=1_000)
    await hosted.shown(earlier, "told", "waiting")
    assert earlier.parent is not None
    later = replace(earlier, input=Inline(5), parent=replace(earlier.parent, began=2_000))
    for _ in range(2):
        await hosted.workflows.start(later)
    await _until_called(5)
    await hosted.signal(later, 40)
    end = await hosted.end(later)
    assert (end.output, end.began) == (Inline(46), 2_000)
    assert calls == [1, 5]
    assert len(hosted.ends(later)) == 1


async def _until_called(value: int) -> None:
    async with asyncio.timeout(30):
        while value not in calls:  # noqa: ASYNC110 - the handler tells nobody
            await asyncio.sleep(0.01)


async def test_a_signal_may_come_before_its_wait(hosted: Hosted) -> None:
    request = await hosted.start(waiting, 1)
    await hosted.signal(request, 40)
    assert (await hosted.end(request)).output == Inline(42)


async def test_a_signal_to_nobody_is_not_found(hosted: Hosted) -> None:
    request = await hosted.start(failing, 1)
    await hosted.end(request)
    await _until(hosted, request.run, "succeeded")
    with pytest.raises(NotFound):
        await hosted.signal(request, 1)
    with pytest.raises(NotFound):
        await hosted.workflows.signal(
            SignalReceived(run=RunId("nobody"), key="nobody", at_ms=0, signal="go", id="1", value=Inline(1))
        )


async def test_a_cancel_ends_the_run_and_is_harmless_afterwards(hosted: Hosted) -> None:
    request = await hosted.start(waiting, 1)
    await hosted.shown(request, "told", "waiting")
    await hosted.cancel(request.run)
    assert (await hosted.end(request)).status == "cancelled"
    await _until(hosted, request.run, "cancelled")
    await hosted.cancel(request.run)
    await hosted.cancel(RunId("nobody"))
    assert len(hosted.ends(request)) == 1


async def test_a_failed_run_goes_on_by_a_retry(hosted: Hosted) -> None:
    broken.add(1)
    request = await hosted.start(failing, 1)
    end = await hosted.end(request)
    assert (end.status, end.may_go_on) == ("failed", True)
    assert end.failure is not None
    assert "broken" in end.failure.message
    await _until(hosted, request.run, "failed")
    broken.clear()
    await hosted.retry(request, "again")
    later = await hosted.end(request, 2)
    assert (later.status, later.output) == ("succeeded", Inline(2)), later.failure
    assert later.counter > end.counter


async def test_a_retry_of_nobody_is_not_found(hosted: Hosted) -> None:
    with pytest.raises(NotFound):
        await hosted.workflows.retry(RetryRequested(run=RunId("nobody"), key="nobody", at_ms=0, id="1"))


async def test_one_that_is_terminated_tells_nobody_and_is_described_so(hosted: Hosted) -> None:
    request = await hosted.start(waiting, 1)
    await hosted.shown(request, "told", "waiting")
    await hosted.terminate(request.run)
    await _until(hosted, request.run, "terminated")
    assert hosted.ends(request) == []
    assert await hosted.workflows.describe(RunId("nobody")) == "unknown"


async def test_readers_see_its_nodes_as_the_parent_s_and_no_list_has_it(hosted: Hosted) -> None:
    request = await hosted.start(failing, 1)
    await hosted.end(request)
    _, partition = TOPICS.place(request.key)
    records = hosted.log.records(TOPICS.run_results, partition)
    assert {record.key for record in records} == {request.key.encode()}
    progress = [codec.results.decode(record.value) for record in records]
    assert {each.run for each in progress if isinstance(each, Progress)} == {request.run}
    assert not hosted.log.records(TOPICS.runs, partition), "its summary would take its parent's place"


async def _until(hosted: Hosted, run: RunId, state: str) -> None:
    async with asyncio.timeout(30):
        while await hosted.workflows.describe(run) != state:  # noqa: ASYNC110 - it is asked, and tells nobody
            await asyncio.sleep(0.02)
