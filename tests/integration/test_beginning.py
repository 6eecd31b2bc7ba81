"""Where a trigger begins on a topic that holds events already: at the first of them, or with what comes next."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import connect
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.ports.log import Outgoing, TopicSpec
from tests.engine import Engine, client_environ, running

_GRAPH = """
from beluga_stream import Graph, Topic


def keeps(note: str) -> str:
    return note


noted = Graph[str, str]("noted")
noted.set_finish_point(noted.add_node(keeps, noted.input))
noted.trigger(Topic("{topic}", str))
"""


@pytest.mark.parametrize(("begin", "found"), [("earliest", {"old", "new"}), ("latest", {"new"})])
async def test_a_trigger_on_a_topic_that_holds_events(
    broker: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: str, found: set[str]
) -> None:
    topic = f"{topic_prefix}notes"
    names: dict[str, Any] = {}
    exec(_GRAPH.format(topic=topic), names)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "noted.py").write_text(_GRAPH.format(topic=topic))
    connection = KafkaConnection.parse(broker)
    async with KafkaTopics(connection) as topics, KafkaAppender(connection) as appender:
        await topics.ensure([TopicSpec(topic, 1)])
        await appender.append([Outgoing(topic, b"k", b'"old"')])
        settings = {"agents": str(tmp_path / "agents"), "triggers_begin": begin}
        with running(broker, tmp_path, **settings) as engine:
            if begin == "latest":
                await _begun(engine)
            await appender.append([Outgoing(topic, b"k", b'"new"')])
            for name, value in client_environ(engine).items():
                monkeypatch.setenv(name, value)
            async with connect() as client, asyncio.timeout(60):
                while len(ended := await client.list(graph="noted", status="succeeded")) < len(found):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                assert len(await client.list(graph="noted")) == len(found)
                assert {await client.run(names["noted"], run.id).result(timeout=30) for run in ended} == found


async def _begun(engine: Engine) -> None:
    async with asyncio.timeout(30):
        while not engine.said("begins_at_end"):  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.05)
