"""Workflows on DBOS as users have them: begun, asked, told, ended, left and taken over, and what is refused."""

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dbos._core
import pytest
from dbos import DBOS

from beluga_stream import Chunk, Graph, Orchestrator, Retry, Superseded, Workflow, context
from beluga_stream.adapters.dbos import run as dbos_run
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.api.features import WorkflowOptions
from beluga_stream.application.execution import leaving
from beluga_stream.bootstrap.dbos_provider import DbosProvider
from beluga_stream.bootstrap.encryption import new_line
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import (
    InvalidConfig,
    InvalidInput,
    InvalidState,
    LogUnavailable,
    NotFound,
    NotSerializable,
    RunFailed,
    TaskCanceled,
    TimedOut,
)
from beluga_stream.ports.workflow_runner import Started
from beluga_stream.testing import contract_workflows
from tests.contract.recording import eventually
from tests.dbos.works import at_work, idle, killed, same, word
from tests.temporal import works


def settings(folder: Path, name: str = "dbos.sqlite") -> Settings:
    return Settings.load(dbos_database=str(folder / name))


async def spell(text: str) -> AsyncIterator[str]:
    attempt = context().attempt
    for letter in text:
        yield f"{letter}{attempt}"
    if attempt == 1:
        raise ConnectionError("gone")


async def until_it_waits(made: Workflow[Any, Any], run: Started | str) -> None:
    async def waits() -> bool:
        return bool((await made.query(run))["nodes"].get("contract-answer") == "waiting")

    await eventually(waits)


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


async def test_a_signal_that_nothing_waits_for_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        run = await made.execute("may I?")
        with pytest.raises(NotFound, match="waits for no signal 'contract-answr': is 'contract-answer' meant"):
            await made.signal(run, "contract-answr", "yes")
        # A workflow is what it began as, whatever the graph is now.
        later = Graph[int, int](contract_workflows.asking.name, durable=True)
        later.set_finish_point(later.add_node(same, later.input))
        await orch.create_workflow(later, provider="dbos").signal(run, contract_workflows.answer, "yes")
        assert await made.get_result(run, timeout=30) == "may I? yes"


async def test_the_result_of_another_graph_is_told(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        run = await orch.create_workflow(idle, provider="dbos").execute(1)
        other = orch.create_workflow(contract_workflows.spelled, provider="dbos")
        with pytest.raises(InvalidState, match="another workflow"):
            await other.get_result(run, timeout=30)


async def test_a_run_that_has_nothing_to_do_ends(tmp_path: Path) -> None:
    graph = Graph[list[int], list[int]]("dbos-empty", durable=True)
    graph.set_finish_point(graph.add_map(same, graph.input))
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(graph, provider="dbos")
        assert await made.get_result(await made.execute([]), timeout=30) == []


async def test_a_handler_that_ignores_its_cancellation_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leaving, "LEFT_AFTER_SECONDS", 0.01)
    entered, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(number: int) -> int:
        entered.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        ended.set()
        return number

    graph = Graph[int, int]("dbos-stubborn", durable=True)
    graph.set_finish_point(graph.add_node(stubborn, graph.input))
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(graph, provider="dbos")
        run = await made.execute(1)
        await entered.wait()
        await made.cancel(run)
        with pytest.raises(TaskCanceled):
            await made.get_result(run, timeout=30)
        assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["handler_lost"]
        go_on.set()
        async with asyncio.timeout(30):
            await ended.wait()


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


async def test_a_link_to_a_file_in_use_is_refused_as_the_file_is(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.mkdir()
    (link / "dbos.sqlite").symlink_to(tmp_path / "dbos.sqlite")
    async with Orchestrator(settings(tmp_path)) as orch:
        await orch.create_workflow(idle, provider="dbos").check()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.dbos.works", str(link), "start", stderr=asyncio.subprocess.PIPE
        )
        _, told = await asyncio.wait_for(process.communicate(), 60)
        assert b"InvalidState: another process" in told


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


async def test_what_a_run_has_done_is_undone_though_its_time_is_up(tmp_path: Path) -> None:
    done: list[str] = []

    def charge(value: int) -> int:
        done.append("charged")
        return value

    async def refund(value: int, charged: int) -> None:
        await asyncio.sleep(0.6)  # longer than the run has
        done.append("refunded")

    async def forever(value: int) -> int:
        await asyncio.Event().wait()
        return value

    async with Orchestrator(settings(tmp_path)) as orch:
        order = orch.create_graph("order", int, int, timeout=0.5, provider="dbos")
        order.set_finish_point(order.add_node(forever, order.add_node(charge, order.input, compensate=refund)))
        with pytest.raises(TimedOut, match=r"did not end within 0\.5 s"):
            await order.invoke(1)
        assert done == ["charged", "refunded"]


async def test_a_workflow_that_has_less_time_than_its_graph_is_undone_when_it_is_over(tmp_path: Path) -> None:
    done: list[str] = []

    async def undo(value: int, given: int) -> None:
        done.append("undone")

    async def forever(value: int) -> int:
        await asyncio.Event().wait()
        return value

    trip = Graph[int, int]("dbos-trip", durable=True)
    trip.set_finish_point(trip.add_node(forever, trip.add_node(same, trip.input, compensate=undo)))
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(trip, provider="dbos", timeout=0.3)
        with pytest.raises(RunFailed, match=r"did not end within 0\.3 s") as failed:
            await made.get_result(await made.execute(1), timeout=30)
        assert failed.value.reason == "timeout"
        assert done == ["undone"]


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


async def test_a_run_goes_on_with_a_later_definition_where_its_nodes_ask_the_same(tmp_path: Path) -> None:
    async def more(number: int) -> int:
        return number + 1

    def after(number: int, said: str) -> str:
        return f"{number} {said}"

    def release(graph: Graph[int, str], *, later: bool) -> Graph[int, str]:
        first = graph.add_node(more, graph.input)
        said = graph.wait(word, after=first, timeout=600)
        last = graph.add_node(after, first, said)
        if later:
            graph.add_node(more, first, name="another")
        graph.set_finish_point(last)
        return graph

    async with Orchestrator(settings(tmp_path)) as orch:
        before = release(Graph[int, str]("dbos-released", durable=True), later=False)
        await orch.create_workflow(before, provider="dbos").execute(1, id="one")
    async with Orchestrator(settings(tmp_path)) as orch:
        later = release(Graph[int, str]("dbos-released", durable=True, timeout=3600), later=True)
        made = orch.create_workflow(later, provider="dbos")
        await made.signal("one", word, "hello")
        assert await made.get_result("one", timeout=60) == "2 hello"
        assert "another" not in (await made.query("one"))["nodes"]


async def test_who_tries_an_id_that_is_taken_does_not_disturb_the_run_that_is_taken_over(tmp_path: Path) -> None:
    at_work.clear()
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(killed, provider="dbos")
        await made.execute(str(tmp_path), id="one")
        assert await asyncio.to_thread(at_work.wait, 30)
    (tmp_path / "go").touch()
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(killed, provider="dbos")
        with pytest.raises(InvalidState, match="taken"):
            await made.execute(str(tmp_path), id="one")
        await made.signal("one", word, "hello")
        assert (await made.get_result("one", timeout=60))[3] == "hello"
    assert (tmp_path / "ran").read_text().split().count("first") == 1


async def test_a_start_whose_caller_leaves_begins_or_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, left = threading.Event(), threading.Event()
    really = dbos._core._init_workflow

    def init(*given: Any, **named: Any) -> Any:
        done = really(*given, **named)
        written.set()
        assert left.wait(30)
        return done

    monkeypatch.setattr(dbos._core, "_init_workflow", init)
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(idle, provider="dbos")
        starting = asyncio.create_task(made.execute(3, id="one"))
        assert await asyncio.to_thread(written.wait, 30)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        left.set()
        assert await made.get_result("one", timeout=30) == 3


async def test_a_signal_whose_sender_leaves_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, left = threading.Event(), threading.Event()
    really = DBOS.send_async

    async def send(*given: Any) -> None:
        await really(*given)
        sent.set()
        assert await asyncio.to_thread(left.wait, 30)

    monkeypatch.setattr(DBOS, "send_async", send)
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        await made.execute("may I?", id="one")
        sending = asyncio.create_task(made.signal("one", contract_workflows.answer, "yes"))
        assert await asyncio.to_thread(sent.wait, 30)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        left.set()
        assert await made.get_result("one", timeout=30) == "may I? yes"


async def test_who_leaves_while_it_opens_leaves_it_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, left = threading.Event(), threading.Event()
    really = DBOS.launch

    def launch() -> None:
        begins.set()
        assert left.wait(30)
        really()

    monkeypatch.setattr(DBOS, "launch", launch)
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(idle, provider="dbos")
        opening = asyncio.create_task(made.check())
        assert await asyncio.to_thread(begins.wait, 30)
        opening.cancel()
        left.set()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await made.get_result(await made.execute(3), timeout=30) == 3


async def test_who_asks_while_it_closes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, never = threading.Event(), asyncio.Event()

    async def steps(*_: Any, **__: Any) -> None:
        asked.set()
        await never.wait()

    provider = DbosProvider(settings(tmp_path))
    runner = provider.workflow(idle, WorkflowOptions(timeout=None))
    await runner.start(3, "one")
    monkeypatch.setattr(DBOS, "list_workflow_steps_async", steps)
    described = asyncio.create_task(runner.describe(Started("one")))
    assert await asyncio.to_thread(asked.wait, 30)
    await provider.aclose()
    with pytest.raises(LogUnavailable, match="stops running DBOS"):
        await described


async def test_a_program_that_does_not_close_it_leaves_its_workflows_to_the_next(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "tests.dbos.leaves", str(tmp_path / "dbos.sqlite")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await asyncio.wait_for(process.communicate(), 60) == (b"left\n", b"")
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        await made.signal("one", contract_workflows.answer, "yes")
        assert await made.get_result("one", timeout=30) == "may I? yes"


async def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        await made.execute("may I?", id="one")
        for value in (object(), "\ud800", 1 << 70):
            with pytest.raises(NotSerializable):
                await made.signal("one", "another", value)
        for named in ("", " ", "\ud800"):
            with pytest.raises(InvalidInput, match="no id"):
                await made.execute("may I?", id=named)
        with pytest.raises(NotSerializable, match="metadata"):
            await orch.create_workflow(idle, provider="dbos", metadata={"owner": "\ud800"}).execute(3)


async def test_a_signal_by_its_name_is_checked_as_one_that_is_given(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        await made.execute("may I?", id="one")
        with pytest.raises(InvalidInput, match="signal 'contract-answer'"):
            await made.signal("one", "contract-answer", 7)
        assert (await made.query("one"))["waits"]
        await made.signal("one", "contract-answer", "yes")
        assert await made.get_result("one", timeout=30) == "may I? yes"


async def test_how_one_stood_is_told_after_its_end_and_before_it_goes_on(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        for named in ("succeeded", "terminated", "goes on"):
            await made.execute("may I?", id=named)
        await made.signal("succeeded", contract_workflows.answer, "yes")
        await made.get_result("succeeded", timeout=30)
        await made.terminate("terminated")
        stood = await made.query("succeeded")
        assert (stood["status"], set(stood["nodes"].values())) == ("succeeded", {"succeeded"})
        assert (await made.query("terminated"))["status"] == "running"
        await until_it_waits(made, "goes on")
        stands = await made.query("goes on")
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos")
        assert await made.query("goes on") == stands
        assert await made.query("succeeded") == stood


async def test_a_time_has_come_when_the_clock_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it that the clock was set, or that the machine slept: the loop's own time does not tell of it."""
    monkeypatch.setattr(dbos_run, "_LOOK_SECONDS", 0.05)
    ahead = 0

    def later(self: SystemClock) -> int:
        return now_ms(self) + ahead

    now_ms = SystemClock.now_ms
    monkeypatch.setattr(SystemClock, "now_ms", later)
    async with Orchestrator(settings(tmp_path)) as orch:
        made = orch.create_workflow(contract_workflows.asking, provider="dbos", timeout=300)
        run = await made.execute("may I?")
        await until_it_waits(made, run)
        ahead = 400_000
        with pytest.raises(TimedOut, match="longer than its timeout"):
            await made.get_result(run, timeout=30)


async def test_who_follows_a_run_is_told_which_chunks_are_void(tmp_path: Path) -> None:
    async with Orchestrator(settings(tmp_path)) as orch:
        graph = orch.create_graph("spelled-again", str, list[str], provider="dbos")
        graph.set_finish_point(graph.add_node(spell, graph.input, retry=Retry(2, first=0.01)))
        events = [event async for event in graph.stream("ab") if isinstance(event, Chunk | Superseded)]
    assert [event.value if isinstance(event, Chunk) else "void" for event in events] == ["a1", "b1", "void", "a2", "b2"]
