"""Workflows on DBOS as users have them: begun, asked, told, ended, left and taken over, and what is refused."""

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from beluga_stream import Orchestrator
from beluga_stream.bootstrap.encryption import new_line
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import InvalidConfig, InvalidState, NotFound, TaskCanceled, TimedOut
from tests.dbos.works import at_work, idle, killed, word
from tests.temporal import works


def settings(folder: Path, name: str = "dbos.sqlite") -> Settings:
    return Settings.load(dbos_database=str(folder / name))


async def test_an_orchestrator_that_closes_leaves_its_workflows_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at_work.clear()
    threads = set(threading.enumerate())
    for _ in range(2):
        async with Orchestrator(settings(tmp_path)) as orch:
            made = orch.create_workflow(killed, provider="dbos", metadata={"owner": "sales"})
            if (tmp_path / "ran").exists():
                (tmp_path / "go").touch()
                assert await made.get_result("one", timeout=60) == [1, [0, 1, 2, 3], [0, 1, 2, 3], "hello"]
                described = await made.describe("one")
                assert (described.state, described.metadata) == ("succeeded", {"owner": "sales"})
                assert described.ended is not None
                with pytest.raises(InvalidState, match="taken"):
                    await made.execute(str(tmp_path), id="one")
                with pytest.raises(NotFound, match="ended"):
                    await made.signal("one", word, "again")
            else:
                await made.execute(str(tmp_path), id="one")
                assert await asyncio.to_thread(at_work.wait, 30)
                await made.signal("one", word, "hello")
                assert (await made.query("one"))["nodes"]["second"] in ("ready", "running")
    assert not [thread for thread in threading.enumerate() if thread not in threads and "dbos" in thread.name]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_workflow_may_be_cancelled_or_terminated(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(killed, provider="dbos")
        for end, state in ((made.cancel, "cancelled"), (made.terminate, "terminated")):
            run = await made.execute(str(tmp_path))
            await end(run)
            with pytest.raises(TaskCanceled):
                await made.get_result(run, timeout=30)
            assert (await made.describe(run)).state == state


async def test_a_workflow_that_takes_too_long_is_timed_out(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(killed, provider="dbos", timeout=0.2)
        run = await made.execute(str(tmp_path))
        with pytest.raises(TimedOut):
            await made.get_result(run, timeout=30)
        assert (await made.describe(run)).state == "timed_out"


async def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch, Orchestrator(settings(tmp_path, "other")) as other:
        with pytest.raises(InvalidConfig, match="not classes"):
            orch.create_workflow(works.Greeting, provider="dbos")
        with pytest.raises(InvalidConfig, match="task queues"):
            orch.create_workflow(killed, provider="dbos", task_queue="elsewhere")
        made = orch.create_workflow(killed, provider="dbos")
        with pytest.raises(NotFound):
            await made.get_result("nobody")
        with pytest.raises(InvalidState, match="already"):
            await other.create_workflow(killed, provider="dbos").check()


async def test_a_file_that_is_in_use_is_refused(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "flock",
        str(tmp_path / "dbos.sqlite.lock"),
        "cat",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"held\n")
    assert await process.stdout.readline() == b"held\n"
    try:
        async with Orchestrator(settings(tmp_path)) as orch:
            with pytest.raises(InvalidState, match="another process"):
                await orch.create_workflow(killed, provider="dbos").check()
    finally:
        process.stdin.close()
        await process.wait()


async def test_values_in_the_file_are_sealed_with_encryption_on(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    key = new_line("k1")
    for _ in range(2):
        chosen = Settings.load(dbos_database=str(tmp_path / "dbos.sqlite"), encryption_keys=key)
        async with Orchestrator(chosen) as orch:
            made = orch.create_workflow(killed, provider="dbos")
            if not (tmp_path / "ran").exists():
                await made.execute(str(tmp_path), id="one")
                await made.signal("one", word, "a word of mine")
            assert (await made.get_result("one", timeout=60))[3] == "a word of mine"
    assert b"a word of mine" not in (tmp_path / "dbos.sqlite").read_bytes()


def test_nobody_who_does_not_ask_for_it_loads_dbos() -> None:
    asked = "import sys, beluga_stream; beluga_stream.Orchestrator; print('dbos' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", asked], text=True) == "False\n"


async def test_a_run_whose_code_is_not_here_waits_for_it(tmp_path: Path) -> None:
    at_work.clear()
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(killed, provider="dbos")
        await made.execute(str(tmp_path), id="one")
        await made.signal("one", word, "hello")
        assert await asyncio.to_thread(at_work.wait, 30)
    (tmp_path / "go").touch()
    async with Orchestrator(settings(tmp_path)) as orch:
        other = orch.create_workflow(idle, provider="dbos")
        assert await other.get_result(await other.execute(3), timeout=30) == 3
        assert (await other.query("one"))["nodes"].get("second") != "succeeded"
        made = orch.create_workflow(killed, provider="dbos")
        assert (await made.get_result("one", timeout=60))[3] == "hello"
