"""A cancel and a timeout reach a running handler of every kind, in real threads and processes, and free its place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from beluga_stream.adapters.processes.pool import Processes
from beluga_stream.application import codec
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.messages import CancelNotice
from beluga_stream.application.worker.worker import WorkerOptions
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import NodeFailed, NodeStreaming
from beluga_stream.ports.log import Record
from tests.unit import process_calls as calls
from tests.unit.engines import RUN, TOPICS, WorkerBench, handler, program
from tests.unit.graphs import edges, node, plan

Kind = tuple[Callable[..., Any], str]

KINDS: dict[str, Kind] = {
    "async": (calls.wait_async, "async"),
    "thread": (calls.wait_in_a_thread, "thread"),
    "process": (calls.wait_in_a_process, "process"),
    "async generator": (calls.wait_streaming, "async"),
    "generator": (calls.wait_streaming_in_a_thread, "thread"),
}


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[WorkerBench]:
    call, executor = KINDS[request.param]
    streams = "generator" in request.param
    of = plan([node("a", NodeKind.STREAM if streams else NodeKind.TASK)], edges("input > a"), ["a"])
    waiting = handler(call, executor=executor, streams=streams)
    executions = Executions(threads=1, processes=Processes(1, calls.nothing))
    made = WorkerBench(program(of, {"a": waiting}), WorkerOptions(slots=1), executions=executions)
    yield made
    await made.worker.close()


async def _begin(bench: WorkerBench, place: Path, **work: Any) -> "asyncio.Future[None]":
    later = await bench.worker.handle([bench.work(value=str(place), **work)])
    assert later is not None
    acknowledged = asyncio.ensure_future(later)
    async with asyncio.timeout(30):
        while not calls.written(place):  # noqa: ASYNC110 - a handler tells by a file
            await asyncio.sleep(0.005)
    return acknowledged


async def _is_told(place: Path) -> None:
    """A thread hears of it when it looks."""
    async with asyncio.timeout(30):
        while calls.written(place) != "told":  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)


async def test_a_cancel_stops_it_and_reports_nothing(bench: WorkerBench, tmp_path: Path) -> None:
    # Twice, as the first one's slot, thread and process are free for the second.
    for attempt in (1, 2):
        place = tmp_path / str(attempt)
        acknowledged = await _begin(bench, place, attempt=attempt)
        notice = CancelNotice(run=RUN, generation=0, attempts=(f"a/{attempt}",))
        bench.worker._notices.take([Record(TOPICS.control, 0, 0, None, codec.control.encode(notice))])
        await acknowledged
        await _is_told(place)
    assert [event for event in bench.done() if not isinstance(event, NodeStreaming)] == []


async def test_a_timeout_stops_it_and_fails_the_attempt(bench: WorkerBench, tmp_path: Path) -> None:
    # A process takes its time to start, and the handler must have begun.
    timeout_ms = 15_000 if next(iter(bench.program.handlers.values())).executor == "process" else 300
    await (await _begin(bench, tmp_path / "place", timeout_ms=timeout_ms))
    await _is_told(tmp_path / "place")
    failed = bench.done()[-1]
    assert isinstance(failed, NodeFailed)
    assert (failed.failure.code, failed.crashed_on) == ("timeout", None)
