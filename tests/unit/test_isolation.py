"""Executions in a process of their own, in real ones: what goes through, what a death means, what a cancel does."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from beluga_stream.adapters.processes.isolation import Isolated
from beluga_stream.application.execution.apart import Address
from beluga_stream.application.execution.context import Context
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.execution.verdict import Completed, Failed
from beluga_stream.bootstrap.isolated import command
from beluga_stream.domain.payload import Json
from tests.unit import isolated_agents
from tests.unit.process_calls import written


class Bench:
    """Executions with one process at a time, and what they were told."""

    def __init__(self, agents: Path) -> None:
        self.isolated = Isolated(1, command(str(agents)))
        self.executions = Executions(isolation=self.isolated)
        self.chunks: list[Json] = []
        self.beats: list[object] = []

    async def run(self, name: str, value: Any, *, timeout_ms: int | None = None) -> Completed | Failed:
        program = isolated_agents.GRAPHS[name].compile()
        (handler,) = program.handlers.values()
        (node,) = program.handlers

        async def beat(details: object) -> None:
            self.beats.append(details)

        async def emit(chunk: Json) -> None:
            self.chunks.append(chunk)

        context = Context(run_id="r1", graph=name, node=name, attempt=3, heartbeat_details=[7], _beat=beat)
        address = Address(program.definition.hash, node, "handler")
        parameter = handler.parameters[0].name
        return await self.executions.run(
            handler, {parameter: value}, context, timeout_ms=timeout_ms, emit=emit, apart=address
        )

    async def output(self, name: str, value: Any) -> Any:
        result = await self.run(name, value)
        assert isinstance(result, Completed), result
        return result.output


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    folder.mkdir()
    shutil.copy(isolated_agents.__file__, folder / "isolated_agents.py")
    return folder


@pytest.fixture
async def bench(agents: Path) -> AsyncIterator[Bench]:
    made = Bench(agents)
    yield made
    await made.executions.close()


async def _pid(path: Path) -> int:
    async with asyncio.timeout(30):
        while not written(path):  # noqa: ASYNC110 - another process tells by a file
            await asyncio.sleep(0.01)
    return int(written(path))


async def test_values_chunks_heartbeats_and_facts_go_through(bench: Bench) -> None:
    pid, *facts = await bench.output("facts", {"x": 1})
    assert pid != os.getpid()
    assert facts == ["r1", "facts", 3, [7], {"x": 1}]
    assert bench.beats == [{"at": 1}]
    thread_pid, value = await bench.output("in_a_thread", "v")
    assert (thread_pid != os.getpid(), value) == (True, "v")
    assert await bench.output("with_resource", 1) is True
    assert await bench.output("stream", 3) == [0, 1, 2]
    assert await bench.output("stream_in_a_thread", 2) == [0, 1]
    assert bench.chunks == [0, 1, 2, 0, 1]


async def test_a_process_is_kept_while_others_wait_for_it_and_ended_after_them(bench: Bench) -> None:
    outputs = await asyncio.gather(*(bench.output("in_a_thread", number) for number in range(3)))
    assert [value for _, value in outputs] == [0, 1, 2]
    assert len({pid for pid, _ in outputs}) == 1
    await asyncio.gather(*bench.isolated._ending)
    assert not psutil.pid_exists(outputs[0][0])


async def test_what_a_handler_raises_is_no_crash(bench: Bench) -> None:
    failed = await bench.run("raises", 1)
    assert isinstance(failed, Failed)
    told = "raises raised ValueError: from over there (agents/isolated_agents.py, line"
    assert failed.failure.message.startswith(told)
    assert (failed.retryable, failed.crashed) == (True, False)


@pytest.mark.parametrize(
    ("name", "told"), [("exits", "ended with code 9"), ("crashes", "was killed by SIGSEGV")], ids=["exit", "segv"]
)
async def test_a_death_names_its_cause_and_is_this_node_s(bench: Bench, name: str, told: str) -> None:
    failed = await bench.run(name, 1)
    assert isinstance(failed, Failed)
    assert failed.failure.message == f"{name}: the process that it had to itself {told}"
    assert (failed.retryable, failed.crashed) == (True, True)
    assert await bench.output("stream", 1) == [0]


async def test_a_cancel_reaches_it_and_it_may_clean_up(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "place"
    running = asyncio.create_task(bench.run("waits", str(place)))
    child = psutil.Process(await _pid(place))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert place.read_text() == "cleaned up"
    assert not child.is_running()


async def test_what_does_not_stop_is_killed_and_its_timeout_is_no_crash(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beluga_stream.adapters.processes.isolation._STOP_SECONDS", 0.1)
    place = tmp_path / "place"
    running = asyncio.create_task(bench.run("blocks", str(place), timeout_ms=15_000))
    child = psutil.Process(await _pid(place))
    failed = await running
    assert isinstance(failed, Failed)
    assert (failed.failure.code, failed.crashed) == ("timeout", False)
    assert not child.is_running()


async def test_a_process_that_cannot_start_convicts_nobody(bench: Bench, agents: Path) -> None:
    (agents / "broken.py").write_text("raise RuntimeError('no such model')\n")
    failed = await bench.run("facts", 1)
    assert isinstance(failed, Failed)
    assert (failed.failure.code, failed.retryable, failed.crashed) == ("resource_exhausted", True, False)
    assert "ended with code 1 at its start" in failed.failure.message


async def test_it_does_not_outlive_its_worker(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "place"
    running = asyncio.create_task(bench.run("waits", str(place)))
    child = psutil.Process(await _pid(place))
    (busy,) = bench.isolated._busy
    busy._in.close()
    await asyncio.to_thread(child.wait, 20)
    assert isinstance(await running, Failed)
