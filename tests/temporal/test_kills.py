"""Workers that die: what they held goes on elsewhere."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.client import Client

from beluga_stream import Graph, Orchestrator, Retry, Stream, context
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.clients.results import RunChanged
from beluga_stream.application.execution import leaving
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Position
from tests.durable import Bench, Deployed
from tests.mortal_store import kept, tried
from tests.temporal import works

_TURNS = (("one", ["one"]), ("two", ["one", "two"]))


@contextmanager
def serving(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    """A worker process that is ready, and gone afterwards."""
    environ = {
        **os.environ,
        "BELUGA_TEMPORAL_ADDRESS": settings.temporal_address,
        "BELUGA_TEMPORAL_TASK_QUEUE": settings.temporal_task_queue,
        "BELUGA_BLOBS": settings.blobs,
        "MEMORY_FOLDER": settings.blobs,
    }
    command = [sys.executable, "-m", "tests.temporal.serving"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert line(process) == "ready"
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """What it says next; the test's own timeout bounds the wait."""
    output: IO[str] | None = process.stdout
    assert output is not None
    return output.readline().strip()


async def unstick(client: Client, workflow: str) -> None:
    """Let the server not wait, ten seconds more, for the worker that had this workflow last: it is dead."""
    execution = WorkflowExecution(workflow_id=workflow)
    request = ResetStickyTaskQueueRequest(namespace=client.namespace, execution=execution)
    await client.workflow_service.reset_sticky_task_queue(request)


@pytest.mark.slow
async def test_a_worker_that_is_killed_in_the_midst_of_a_node_costs_one_attempt(
    temporal_address: str, tmp_path: Path
) -> None:
    settings = Settings.load(
        temporal_address=temporal_address, temporal_task_queue=secrets.token_hex(8), blobs=str(tmp_path)
    )
    async with Orchestrator(settings) as orch:
        survivor = orch.create_workflow(works.survivor)
        with serving(settings) as first:
            run = await survivor.execute(3)
            assert line(first) == "entered"
        with serving(settings):
            assert await survivor.get_result(run, timeout=60) == 42


@pytest.mark.slow
async def test_a_wait_survives_every_worker(temporal_address: str, tmp_path: Path) -> None:
    settings = Settings.load(
        temporal_address=temporal_address, temporal_task_queue=secrets.token_hex(8), blobs=str(tmp_path)
    )
    async with Orchestrator(settings) as orch:
        asking = orch.create_workflow(works.asking)
        with serving(settings):
            run = await asking.execute(3)
            while not (await asking.query(run))["waits"]:
                pass
        await asking.signal(run, works.approval, value=True)
        with serving(settings):
            assert await asking.get_result(run, timeout=60) == "3 True"


@pytest.mark.slow
async def test_a_worker_that_is_killed_before_a_save_and_after_another_costs_no_turn_and_doubles_none(
    temporal_address: str, temporal: Client, tmp_path: Path
) -> None:
    settings = Settings.load(
        temporal_address=temporal_address, temporal_task_queue=secrets.token_hex(8), blobs=str(tmp_path)
    )
    async with Orchestrator(settings) as orch:
        talk = orch.create_workflow(works.remembering)
        with serving(settings) as first:
            loaded = await talk.execute({"who": "anna", "text": "one", "holds": "yes"})
            assert await asyncio.to_thread(line, first) == "entered"
            (tmp_path / "dies").touch()
            saved = await talk.execute({"who": "ben", "text": "one"})
            assert await asyncio.to_thread(first.wait, 30) == -signal.SIGKILL
        assert kept(tmp_path) == [("ben", "one", ["one"])]
        for run in (loaded, saved):
            await unstick(temporal, run.workflow_id)
        with serving(settings):  # it knows of both by their histories only
            for run in (loaded, saved):
                assert await talk.get_result(run, timeout=60) == ["one"]
            for who in ("anna", "ben"):
                turn = await talk.execute({"who": who, "text": "two"})
                assert await talk.get_result(turn, timeout=30) == ["one", "two"]
    assert sorted(kept(tmp_path)) == [(who, text, answer) for who in ("anna", "ben") for text, answer in _TURNS]
    assert [turn for turn, first in tried(tmp_path) if first == "False"] == [saved.workflow_id]


async def test_a_worker_that_stops_gives_its_work_back_with_what_it_has_told(temporal: Client) -> None:
    attempts: list[tuple[int, object]] = []
    entered = asyncio.Event()

    async def twice(number: int) -> int:
        attempts.append((context().attempt, context().heartbeat_details))
        if context().attempt == 1:
            await context().heartbeat("half")
            entered.set()
            await asyncio.Event().wait()
        return number * 2

    graph = Graph[int, int]("durable-twice", durable=True)
    graph.set_finish_point(graph.add_node(twice, graph.input, retry=Retry(1)))
    durable = Bench(temporal, Deployed([graph.compile()]))
    async with asyncio.timeout(60):
        async with durable.worker():
            run = await durable.start(graph, 21)
            await entered.wait()
        async with durable.worker():
            assert await durable.runs.result(run) == 42
    await durable.close()
    assert attempts == [(1, None), (2, "half")]


async def test_a_worker_that_stops_leaves_a_handler_behind_that_ignores_it(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leaving, "LEFT_AFTER_SECONDS", 0.01)
    entered, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(number: int) -> int:
        if context().attempt == 1:
            entered.set()
            while not go_on.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await go_on.wait()
            ended.set()
        return context().attempt

    graph = Graph[int, int]("durable-stubborn", durable=True)
    graph.set_finish_point(graph.add_node(stubborn, graph.input))
    durable = Bench(temporal, Deployed([graph.compile()]))
    async with asyncio.timeout(60):
        async with durable.worker():
            run = await durable.start(graph, 1)
            await entered.wait()
        assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["handler_lost"]
        async with durable.worker():
            assert await durable.runs.result(run) == 2
        go_on.set()
        await ended.wait()
    await durable.close()


class AwayLog(MemoryLog):
    """A log that is not there, for so many appends."""

    away = 0

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        if self.away > 0:
            self.away -= 1
            raise LogUnavailable("the log is away")
        return await super().append(records)


async def test_a_log_that_is_away_delays_a_run_and_loses_nothing(temporal: Client) -> None:
    log = AwayLog()
    log.away = 2

    async def letters(text: str) -> AsyncIterator[str]:
        if context().attempt == 1:
            log.away = 2
        for letter in text:
            yield letter

    graph = Graph[str, list[str]]("durable-away", durable=True)
    graph.set_finish_point(graph.add_node(letters, graph.input, retry=Retry(1)))
    durable = Bench(temporal, Deployed([graph.compile()]), log=log)
    async with durable.worker():
        run = await durable.start(graph, "ab")
        assert await durable.runs.result(run, timeout_seconds=60) == ["a", "b"]
        async with aclosing(durable.runs.follow(run)) as events:
            told = [event.status async for event in events if isinstance(event, RunChanged)]
        assert told == ["running", "succeeded"]
    await durable.close()


async def test_a_node_that_resumes_goes_on_where_the_log_says(temporal: Client) -> None:
    entered = asyncio.Event()

    async def counts(most: int) -> AsyncIterator[int]:
        for number in range(len(context().emitted(int)), most):
            if number == 2 and context().attempt == 1:
                entered.set()
                await asyncio.Event().wait()
            yield number * 10 + context().attempt

    async def listed(numbers: Stream[int]) -> list[int]:
        return [number async for number in numbers]

    graph = Graph[int, list[int]]("durable-resumed", durable=True)
    graph.set_finish_point(graph.add_node(listed, graph.add_node(counts, graph.input, resume=True).stream))
    durable = Bench(temporal, Deployed([graph.compile()]))
    async with asyncio.timeout(60):
        async with durable.worker():
            run = await durable.start(graph, 4)
            await entered.wait()
        async with durable.worker():
            assert await durable.runs.result(run) == [1, 11, 22, 32]
    await durable.close()
