"""One graph through every door: here, by the command line, by an event; and read by a plain client."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.acceptance.notes import Doc, declare, notes
from tests.engine import Engine, client_environ, running

_HERE = Path(__file__).parent
_DOC = {"text": "To be. Or not to be. That is it."}


@pytest.fixture(scope="module")
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    declare(folder)
    with running(broker, folder, agents="tests.acceptance.notes") as engine:
        yield engine


def _plain_client(engine: Engine) -> dict[str, object]:
    done = subprocess.run(
        [
            sys.executable,
            str(_HERE / "plain_client.py"),
            engine.broker,
            engine.prefix,
            "acceptance.notes",
            "notes",
            json.dumps(_DOC),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def _command_line(engine: Engine) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", "run", "notes", json.dumps(_DOC), "--json"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, **client_environ(engine)},
    )


def test_a_plain_client_needs_the_documents_only(engine: Engine) -> None:
    told = _plain_client(engine)
    assert told["status"] == "succeeded"
    assert told["chunks"] == [["digest", 0, "To"], ["digest", 1, "Or"], ["digest", 2, "That"]]


async def test_one_graph_gives_the_same_through_every_door(engine: Engine) -> None:
    here = await notes.invoke(Doc(**_DOC))
    by_command = await asyncio.to_thread(_command_line, engine)
    assert by_command.returncode == 0, by_command.stderr
    by_event = await asyncio.to_thread(_plain_client, engine)

    output = by_event["output"]
    assert isinstance(output, dict)
    ended = json.loads(by_command.stdout.splitlines()[-1])
    assert _without_process(here.model_dump()) == _without_process(output) == _without_process(ended["output"])
    assert output["pid"] == engine.pid, "handlers ran in the worker's process"
    assert here.pid == os.getpid()

    run = str(by_event["run"])
    ready = await _count(engine, f"{engine.prefix}.node-ready.default", run, "node_ready")
    done = await _count(engine, f"{engine.prefix}.node-done", run, "node_succeeded")
    once = {"split": 1, "digest": 1, "report": 1, "shout[0]": 1, "shout[1]": 1, "shout[2]": 1}
    assert ready == done == once


def _without_process(report: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in report.items() if name != "pid"}


async def _count(engine: Engine, topic: str, run: str, kind: str) -> Counter[str]:
    """How many records of a kind each node of the run has, by a plain consumer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=engine.broker)
    await consumer.start()
    try:
        targets = [TopicPartition(topic, partition) for partition in range(4)]
        consumer.assign(targets)
        await consumer.seek_to_beginning(*targets)
        ends = await consumer.end_offsets(targets)
        found: Counter[str] = Counter()
        while any([await consumer.position(target) < ends[target] for target in targets]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    message = json.loads(record.value)
                    if message["run"] == run and message["type"] == kind:
                        found[message["node"]] += 1
        return found
    finally:
        await consumer.stop()
