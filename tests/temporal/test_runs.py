"""Durable runs on a real server: signals, cancels, ends by hand, long histories, replays and sealed values."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from inspect import Parameter, Signature
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import ActivityEnvironment

from beluga_stream import Graph, Retry, Signal, node
from beluga_stream.adapters.crypto.aesgcm import AesGcm
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.adapters.temporal.envelopes import STATE, Beaten, Given
from beluga_stream.adapters.temporal.workflows import TemporalWorkflows
from beluga_stream.application import codec
from beluga_stream.application.clients.results import Chunk, NodeChanged, RunChanged
from beluga_stream.application.durable.standing import Standing
from beluga_stream.application.messages import Argument, NodeReady
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.bootstrap.temporal import SharedClient
from beluga_stream.domain.events import CancelRequested, ChildFinished, NodeSucceeded, Parent, RetryRequested
from beluga_stream.domain.ids import Incarnation, NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import InvalidState, NotFound, RunFailed, TaskCanceled, TemporalUnavailable
from beluga_stream.ports.workflows import WorkflowState
from tests.conformance.graphs import nested, stages_again
from tests.durable import TOPICS, bench

_RECORDED = Path(__file__).parent / "recorded"
"""Histories of workflows that have ended; none is ever changed."""

approval = Signal("approval", bool)


def say(number: int, ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
    return f"{number} {ok}"


async def increment(number: int) -> int:
    await asyncio.sleep(0)  # whatever goes on beside it has had its turn
    return number + 1


asked = Graph[int, str]("durable-asked", durable=True)
asked.set_finish_point(
    asked.add_node(say, asked.input, asked.wait(approval, after=asked.add_node(increment, asked.input), timeout=600))
)

counting = Graph[int, int]("durable-counting", durable=True)
counting.set_finish_point(
    counting.add_loop(increment, counting.input, until=lambda number: number >= 90, max_passes=100)
)


class Held:
    """A handler that is in the midst of its work, and what becomes of it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __call__(self, number: int) -> int:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        return number


def holding(held: Held) -> Graph[int, int]:
    async def hold(number: int) -> int:
        return await held(number)

    graph = Graph[int, int]("durable-holding", durable=True)
    graph.set_finish_point(graph.add_node(hold, graph.input, retry=Retry(1)))
    return graph


async def test_a_wait_is_told_by_the_query_and_ended_by_its_signal(temporal: Client) -> None:
    async with bench(temporal, [asked]) as durable:
        run = await durable.start(asked, 3)
        async with aclosing(durable.runs.follow(run)) as events:
            async for event in events:
                if isinstance(event, NodeChanged) and (event.node, event.status) == ("increment", "succeeded"):
                    break
        handle = temporal.get_workflow_handle(run)
        standing = await handle.query(STATE, result_type=Standing)
        assert standing.status == "running"
        assert [(each.on, each.node) for each in standing.waits] == [("signal", "approval")]
        await durable.signal(run, "approval", value=True)
        assert await durable.runs.result(run, timeout_seconds=30) == "3 True"
        assert await handle.result() is not None
        assert await durable.workflows.describe(run) == "succeeded"
        with pytest.raises(NotFound):
            await durable.signal(run, "approval", value=True, number="2")


async def test_a_run_is_started_once_and_one_that_nobody_started_is_unknown(temporal: Client) -> None:
    async with bench(temporal, [counting]) as durable:
        run = await durable.start(counting, 89)
        assert await durable.runs.result(run, timeout_seconds=30) == 90
        await temporal.get_workflow_handle(run).result()
        again = await durable.start(counting, 89, run=run)
        assert again == run
        assert await durable.workflows.describe(run) == "succeeded"
        assert await durable.workflows.describe(RunId("0" * 32)) == "unknown"
        with pytest.raises(NotFound):
            await durable.signal(RunId("0" * 32), "approval", value=True)
        await durable.workflows.cancel(CancelRequested(run=RunId("0" * 32), key="", at_ms=0))


async def test_the_first_task_comes_with_the_answer_to_the_start(temporal: Client) -> None:
    async with bench(temporal, [counting]) as durable:
        run = await durable.start(counting, 89)
        assert await durable.runs.result(run, timeout_seconds=30) == 90
        history = await temporal.get_workflow_handle(run).fetch_history()
    assert history.events[0].workflow_execution_started_event_attributes.eager_execution_accepted


async def test_a_process_has_one_client_however_many_ask_for_it_at_once(temporal_address: str) -> None:
    connect = SharedClient(Settings.load(temporal_address=temporal_address))
    first, *others = await asyncio.gather(*(connect() for _ in range(4)))
    assert all(other is first for other in (*others, await connect()))


@pytest.mark.parametrize("details", [None, Inline("half")])
async def test_a_short_execution_beats_only_to_keep_what_another_has_told(
    temporal: Client, details: Inline | None
) -> None:
    beats: list[object] = []
    work = NodeReady(
        run=RunId("a" * 32),
        key="a" * 32,
        root=RunId("a" * 32),
        graph="durable-asked",
        definition=asked.compile().definition.hash,
        node=NodeKey("increment"),
        name=NodeName("increment"),
        attempt=2,
        arguments=(Argument("number", Inline(1)),),
        generation=0,
        at_ms=0,
        details=details,
    )
    async with bench(temporal, [asked]) as durable:
        activities = durable.activities()
        environment = ActivityEnvironment(durable.client)
        environment.on_heartbeat = beats.append
        told = await environment.run(activities.execute, Given(work, Incarnation("mine")))
        await activities.close()
    assert isinstance(told.event, NodeSucceeded)
    assert beats == ([] if details is None else [Beaten(details)])


async def test_a_cancel_reaches_the_handler_and_the_parent(temporal: Client) -> None:
    held = Held()
    parent = Parent(RunId("f" * 32), "f" * 32, NodeKey("child"))
    async with bench(temporal, [graph := holding(held)]) as durable:
        run = await durable.start(graph, 1, parent=parent)
        async with asyncio.timeout(30):
            await held.entered.wait()
            await durable.workflows.cancel(CancelRequested(run=run, key=run, at_ms=0, reason="not wanted"))
            with pytest.raises(TaskCanceled, match="not wanted"):
                await durable.runs.result(run)
            await held.stopped.wait()
            with pytest.raises(WorkflowFailureError):
                await temporal.get_workflow_handle(run).result()
        assert await durable.workflows.describe(run) == "cancelled"
        [told] = [
            codec.incoming.decode(record.value)
            for partition in range(TOPICS.partitions)
            for record in durable.log.records(TOPICS.run_events, partition)
        ]
        assert isinstance(told, ChildFinished)
        assert (told.run, told.node, told.child, told.status) == (parent.run, "child", run, "cancelled")


async def test_in_a_namespace_that_is_not_there_no_workflow_is_called_unknown(temporal_address: str) -> None:
    connection = TemporalConnection(temporal_address, namespace="nowhere")
    workflows = TemporalWorkflows(connection.client, TOPICS, lambda _: None, task_queue="none")
    run = RunId("a" * 32)
    with pytest.raises(TemporalUnavailable, match="BELUGA_TEMPORAL_NAMESPACE"):
        await workflows.describe(run)
    with pytest.raises(TemporalUnavailable):
        await workflows.cancel(CancelRequested(run=run, key=run, at_ms=0))


async def test_one_that_is_terminated_by_hand_is_told_by_describe(temporal: Client) -> None:
    held = Held()
    async with bench(temporal, [graph := holding(held)]) as durable:
        run = await durable.start(graph, 1)
        async with asyncio.timeout(30):
            await held.entered.wait()
            assert await durable.workflows.describe(run) == "running"
            await temporal.get_workflow_handle(run).terminate("by hand")
            assert await durable.workflows.describe(run) == "terminated"
            await held.stopped.wait()
        with pytest.raises(InvalidState, match="terminated"):
            await durable.workflows.retry(RetryRequested(run=run, key=run, at_ms=0))


async def test_a_long_history_goes_on_in_another_execution(temporal: Client) -> None:
    async with bench(temporal, [counting]) as durable:
        run = await durable.start(counting, 0)
        first = await temporal.get_workflow_handle(run).describe()
        assert await durable.runs.result(run, timeout_seconds=60) == 90
        last = await temporal.get_workflow_handle(run).describe()
        assert last.run_id != first.run_id


heavy_calls: list[int] = []


async def fatten(number: int) -> str:
    return "x" * 60_000


async def fail_once(a: str, b: str, c: str, d: str, e: str) -> int:
    heavy_calls.append(len(a))
    if len(heavy_calls) == 1:
        raise ConnectionError("not yet")
    return len(a + b + c + d + e)


heavy = Graph[int, int]("durable-heavy", durable=True)
fat = [heavy.add_node(fatten, heavy.input, name=name) for name in "abcde"]
heavy.set_finish_point(heavy.add_node(fail_once, *fat, retry=Retry(1)))
"""Its states are so long that they are kept in the blob store when it fails."""


async def test_a_run_that_asks_for_much_at_once_is_given_it_bit_by_bit(temporal: Client) -> None:
    graph = Graph[list[int], list[int]]("durable-wide", durable=True)
    graph.set_finish_point(graph.add_map(increment, graph.input, max_parallel=192))
    async with bench(temporal, [graph]) as durable:
        run = await durable.start(graph, list(range(150)))
        first = (await temporal.get_workflow_handle(run).describe()).run_id
        assert await durable.runs.result(run, timeout_seconds=60) == list(range(1, 151))
        asked = [0]
        async for event in temporal.get_workflow_handle(run, run_id=first).fetch_history_events():
            if event.HasField("workflow_task_completed_event_attributes"):
                asked.append(0)
            if event.HasField("activity_task_scheduled_event_attributes"):
                asked[-1] += 1
        assert 1 < max(asked) <= 100


async def test_a_retry_is_not_lost_on_a_workflow_that_has_still_to_end(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy_calls.clear()
    described = asyncio.Event()
    async with bench(temporal, [heavy]) as durable:
        put, describe = durable.blobs.put, durable.workflows.describe

        async def put_late(owner: str, data: bytes) -> str:
            if len(data) > 256 * 1024:
                await described.wait()
            return await put(owner, data)

        async def describe_first(run: RunId) -> WorkflowState:
            state = await describe(run)
            described.set()
            return state

        monkeypatch.setattr(durable.blobs, "put", put_late)
        monkeypatch.setattr(durable.workflows, "describe", describe_first)
        run = await durable.start(heavy, 0)
        with pytest.raises(RunFailed, match="not yet"):
            await durable.runs.result(run, timeout_seconds=30)
        await durable.workflows.retry(RetryRequested(run=run, key=run, at_ms=SystemClock().now_ms(), id="again"))
        await temporal.get_workflow_handle(run).result()
        assert heavy_calls == [60_000, 60_000]


async def test_a_retry_of_a_run_whose_states_are_kept_no_longer_fails(temporal: Client) -> None:
    heavy_calls.clear()
    async with bench(temporal, [heavy]) as durable:
        run = await durable.start(heavy, 0)
        with pytest.raises(WorkflowFailureError):
            await temporal.get_workflow_handle(run).result()
        durable.blobs.stored.clear()
        await durable.workflows.retry(RetryRequested(run=run, key=run, at_ms=SystemClock().now_ms(), id="again"))
        async with asyncio.timeout(30):
            with pytest.raises(WorkflowFailureError) as failed:
                await temporal.get_workflow_handle(run).result()
        assert "there is no blob" in str(failed.value.cause)
        assert await durable.workflows.describe(run) == "failed"


async def test_a_run_that_failed_goes_on_when_it_is_retried(temporal: Client) -> None:
    calls: list[int] = []

    async def once(number: int) -> int:
        calls.append(number)
        if len(calls) == 1:
            raise ConnectionError("not yet")
        return number * 2

    graph = Graph[int, int]("durable-mended", durable=True)
    graph.set_finish_point(graph.add_node(once, graph.add_node(increment, graph.input), retry=Retry(1)))
    async with bench(temporal, [graph]) as durable:
        run = await durable.start(graph, 1)
        with pytest.raises(RunFailed, match="not yet"):
            await durable.runs.result(run, timeout_seconds=30)
        with pytest.raises(WorkflowFailureError):
            await temporal.get_workflow_handle(run).result()
        await durable.workflows.retry(RetryRequested(run=run, key=run, at_ms=SystemClock().now_ms(), id="again"))
        await temporal.get_workflow_handle(run).result()
        assert calls == [2, 2]
        async with aclosing(durable.runs.follow(run)) as events:
            ends = [event.status async for event in events if isinstance(event, RunChanged)]
        assert ends == ["running", "failed", "running", "succeeded"]
        with pytest.raises(NotFound):
            await durable.workflows.retry(RetryRequested(run=RunId("0" * 32), key="", at_ms=0))


async def test_chunks_and_statuses_are_told_as_any_runs_are(temporal: Client) -> None:
    async def letters(text: str) -> AsyncIterator[str]:
        for letter in text:
            yield letter

    graph = Graph[str, list[str]]("durable-letters", durable=True)
    graph.set_finish_point(graph.add_node(letters, graph.input))
    async with bench(temporal, [graph]) as durable:
        run = await durable.start(graph, "abc")
        async with aclosing(durable.runs.follow(run)) as events:
            told = [event async for event in events]
        assert [event.value for event in told if isinstance(event, Chunk)] == ["a", "b", "c"]
        assert isinstance(told[-1], RunChanged)
        assert told[-1].status == "succeeded"
        summary = await durable.runs.summary(run)
        assert summary is not None
        assert (summary.graph, summary.status) == ("durable-letters", "succeeded")


async def test_results_that_are_long_go_to_the_blobs_and_a_run_that_outgrows_its_bound_fails(temporal: Client) -> None:
    async def text(number: int) -> str:
        return "x" * 60_000

    async def lengths(given: list[str]) -> int:
        return sum(map(len, given))

    wide = Graph[int, dict[str, str]]("durable-wide", durable=True)
    wide.set_finish_point(*(wide.add_node(text, wide.input, name=f"text{number}") for number in range(5)))
    wider = Graph[int, int]("durable-wider", durable=True)
    texts = [wider.add_node(text, wider.input, name=f"text{number}") for number in range(40)]
    wider.set_finish_point(wider.add_node(lengths, wider.n_of(40, *texts)))
    async with bench(temporal, [wide, wider]) as durable:
        run = await durable.start(wide, 1)
        assert len(await durable.runs.result(run, timeout_seconds=60)) == 5
        assert len(durable.blobs.stored) == 1
        failed = await durable.start(wider, 1)
        with pytest.raises(RunFailed, match="state has grown") as told:
            await durable.runs.result(failed, timeout_seconds=60)
        assert told.value.reason == "resource_exhausted"


async def test_a_node_that_takes_a_long_value_too_often_fails_its_run_and_lets_it_not_stand_still(
    temporal: Client,
) -> None:
    async def text(number: int) -> str:
        return "x" * 60_000

    async def total(*texts: str) -> int:
        raise AssertionError("nobody can be asked")

    names = [f"text{number}" for number in range(40)]
    total.__signature__ = Signature(  # type: ignore[attr-defined]  # a handler with so many parameters
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=str) for name in names]
    )
    total.__annotations__ = {**dict.fromkeys(names, str), "return": int}
    graph = Graph[int, int]("durable-repeating", durable=True)
    found = graph.add_node(text, graph.input)
    graph.set_finish_point(graph.add_node(total, *[found] * len(names)))
    async with bench(temporal, [graph]) as durable:
        run = await durable.start(graph, 1)
        with pytest.raises(RunFailed, match=r"the work for total of 24\d+ bytes is above the limit") as told:
            await durable.runs.result(run, timeout_seconds=30)
        assert told.value.reason == "resource_exhausted"


async def test_code_that_no_worker_has_parks_the_node_until_one_brings_it(temporal: Client) -> None:
    @node(name="late")
    async def late(number: int) -> int:
        return number + 5

    graph = Graph[int, int]("durable-late", durable=True)
    graph.set_finish_point(graph.add_node(late, graph.input))
    async with bench(temporal, [graph]) as durable:
        program = durable.deployed.programs.pop(graph.compile().definition.hash)
        definition = program.definition
        durable.known[definition.hash] = definition
        run = await durable.start(graph, 1)
        async with aclosing(durable.runs.follow(run)) as events:
            async for event in events:
                if isinstance(event, NodeChanged) and event.status == "parked":
                    assert event.failure is not None
                    assert event.failure.code == "code_missing"
                    break
        durable.deployed.programs[definition.hash] = program
        assert await durable.runs.result(run, timeout_seconds=60) == 6


async def test_a_run_goes_on_with_a_later_definition_whose_node_asks_the_same(temporal: Client) -> None:
    def say_later(number: int, ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
        return f"{number} {ok} later"

    later = Graph[int, str]("durable-asked", durable=True)
    counted = later.add_node(increment, later.input, timeout=5)
    later.add_node(lambda number: None, counted, name="noted")
    answered = later.wait(approval, after=counted, timeout=600)
    later.set_finish_point(later.add_node(say_later, later.input, answered, name="say"))
    async with bench(temporal, [asked]) as durable:
        run = await durable.start(asked, 1)
        async with aclosing(durable.runs.follow(run)) as events:
            async for event in events:
                if isinstance(event, NodeChanged) and event.status == "waiting":
                    break
        definition = durable.deployed.programs.pop(asked.compile().definition.hash).definition
        durable.known[definition.hash] = definition
        program = later.compile()
        durable.deployed.programs[program.definition.hash] = program
        await durable.signal(run, "approval", value=True)
        assert await durable.runs.result(run, timeout_seconds=60) == "1 True later"


async def test_the_server_sees_sealed_values_only(temporal_address: str) -> None:
    cipher = AesGcm({"k": bytes(32)})
    client = await TemporalConnection(temporal_address).client(cipher)
    secret = "a secret that nobody may see"

    async def keep(text: str) -> str:
        return text

    async def lose(text: str) -> str:
        raise ValueError(text)

    graph = Graph[str, str]("durable-sealed", durable=True)
    graph.set_finish_point(graph.add_node(keep, graph.input))
    failing = Graph[str, str]("durable-sealed-failing", durable=True)
    failing.set_finish_point(failing.add_node(lose, failing.input, retry=Retry(1)))
    async with bench(client, [graph, failing], cipher=cipher) as durable:
        run = await durable.start(graph, secret)
        assert await durable.runs.result(run, timeout_seconds=30) == secret
        broken = await durable.start(failing, secret)
        with pytest.raises(RunFailed, match=secret):
            await durable.runs.result(broken, timeout_seconds=30)
        for each in (run, broken):
            await asyncio.wait({asyncio.ensure_future(client.get_workflow_handle(each).result())})
            history = await client.get_workflow_handle(each).fetch_history()
            assert secret not in history.to_json()
            assert secret.encode() not in b"".join(event.SerializeToString() for event in history.events)


async def test_a_replay_is_the_same_whatever_order_sets_have(temporal: Client, tmp_path: Path) -> None:
    async with bench(temporal, [nested, stages_again, asked]) as durable:
        runs = [await durable.start(nested, 4), await durable.start(stages_again, 4), await durable.start(asked, 1)]
        await durable.signal(runs[2], "approval", value=False)
        for run in runs:
            await temporal.get_workflow_handle(run).result()
            history = await temporal.get_workflow_handle(run).fetch_history()
            (tmp_path / f"{run}.json").write_text(history.to_json())
    for seed in ("1", "2"):
        assert replayed(tmp_path, seed) == "3 replayed\n"


def test_what_earlier_versions_have_begun_replays() -> None:
    assert replayed(_RECORDED, "3") == f"{len(list(_RECORDED.glob('*.json')))} replayed\n"


def replayed(folder: Path, seed: str) -> str:
    """What a process with this hash seed says of the histories of a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.temporal.replaying", str(folder)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout or done.stderr
