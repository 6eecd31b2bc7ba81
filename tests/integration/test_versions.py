"""What becomes of runs under way when other code is deployed: they go on, or wait visibly for what they lack."""

import contextlib
from pathlib import Path

import pytest

from beluga_stream import NodeChanged, Signal, connect
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.application.catalog import publish
from beluga_stream.application.topics import Topics
from tests.acceptance.notes import Doc, declare, notes
from tests.engine import Engine, client_environ

_OTHER = """
from beluga_stream import Graph


async def same(number: int) -> int:
    return number


other = Graph[int, int]("other")
other.set_finish_point(other.add_node(same, other.input))
"""


async def test_a_parked_run_goes_on_after_the_deploy(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "other.py").write_text(_OTHER)
    engine = Engine(broker, tmp_path, agents="agents")
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    engine.start(groups=2)  # nothing triggers anything, so there is no ingest
    try:
        async with KafkaAppender(KafkaConnection.parse(broker)) as appender:
            await publish(appender, Topics(engine.prefix), [notes.compile().definition])
        async with connect() as client:
            run = await client.start(notes, Doc(text="To be. Or not."))
            async with contextlib.aclosing(run.stream()) as events:
                async for event in events:
                    if isinstance(event, NodeChanged) and event.status == "parked":
                        break
            assert event.node == "split"
            assert event.failure is not None
            assert event.failure.code == "code_missing"
            assert (await run.status()).status == "running"

            assert engine.stop() == 0
            engine.environ["BELUGA_AGENTS"] = "tests.acceptance.notes"
            declare(tmp_path)
            engine.start(groups=5)
            report = await run.result(timeout=40)
            assert report.lines == ["TO BE", "OR NOT"]
            assert report.pid == engine.pid
    finally:
        assert engine.stop() == 0


_WAITING = """
from pydantic import BaseModel

from beluga_stream import Graph, Signal


class Answer(BaseModel):
    ok: bool


answer = Signal("answer", Answer)


def asked(number: int) -> int:
    return number


def settled(number: int, given: Answer) -> str:
    return f"{number} {WORD}"


waiting = Graph[int, str]("waiting")
number = waiting.add_node(asked, waiting.input)
given = waiting.wait(answer, after=number, timeout=60)
waiting.set_finish_point(waiting.add_node(settled, number, given))
"""

_ADDED = """

def noted(number: int) -> None:
    return None


waiting.add_node(noted, number)
"""


async def test_a_run_goes_on_after_a_deploy_that_changed_other_nodes_of_its_graph(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "waiting.py").write_text(_WAITING.replace("{WORD}", "before"))
    engine = Engine(broker, tmp_path, agents="agents")
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    engine.start(groups=2)
    try:
        async with connect() as client:
            run = await client.start("waiting", 7)
            async with contextlib.aclosing(run.stream()) as events:
                async for event in events:
                    if isinstance(event, NodeChanged) and event.status == "waiting":
                        break
            assert engine.stop() == 0
            (agents / "waiting.py").write_text(_WAITING.replace("{WORD}", "after") + _ADDED)
            engine.start(groups=4)
            await run.signal(Signal("answer", dict), {"ok": True})
            assert await run.result(timeout=40) == "7 after"
    finally:
        assert engine.stop() == 0
