"""What cannot start says why in one line, and ends with a code other than 0: no traceback, no hanging."""

import asyncio
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from beluga_stream import connect
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.preparation import prepare
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.cli.exits import NO_BROKER
from beluga_stream.ports.log import TopicSpec
from tests.acceptance.notes import Doc, declare, notes
from tests.engine import Engine, client_environ

_REPO = Path(__file__).resolve().parents[2]
_END_SECONDS = 60.0

_GRAPH = """
from beluga_stream import Graph


async def same(number: int) -> int:
    return number


{name} = Graph[int, int]("{name}")
{name}.set_finish_point({name}.add_node(same, {name}.input))
"""


def _started(broker: str, folder: Path, **settings: str) -> tuple[int, str]:
    """Start an engine that should end by itself; its exit code and what it said."""
    declare(folder)
    (folder / "topics").mkdir(exist_ok=True)
    environ = {
        **os.environ,
        "PYTHONPATH": str(_REPO),
        "BELUGA_BROKER": broker,
        "BELUGA_PREFIX": f"t-{uuid.uuid4().hex[:10]}",
        "BELUGA_AGENTS": "tests.acceptance.notes",
        "BELUGA_DATA": str(folder / "data"),
        "BELUGA_BLOBS": str(folder / "blobs"),
        "BELUGA_TOPICS": str(folder / "topics"),
        **{f"BELUGA_{name.upper()}": value for name, value in settings.items()},
    }
    ended = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker", "-l", "warn"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=_END_SECONDS,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said, said
    return ended.returncode, said


def _reason(said: str) -> str:
    """The one line that says why."""
    lines = [line for line in said.splitlines() if "beluga_stream does not start: " in line]
    assert len(lines) == 1, said
    return lines[0].partition("beluga_stream does not start: ")[2]


@pytest.mark.parametrize(
    ("files", "settings", "told"),
    [
        ({"agents/a.py": "def f(:\n"}, {"agents": "agents"}, r"agents/a\.py, line 1: syntax error: "),
        ({"agents/a.py": "x = 1\nimport nothing_like_it\n"}, {"agents": "agents"},
         r"agents/a\.py, line 2: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ({"agents/a.py": _GRAPH.format(name="twins"), "agents/b.py": _GRAPH.format(name="twins")},
         {"agents": "agents"}, r"two graphs are named 'twins': rename one"),
        ({}, {"agents": "no.such.package"}, r"'no\.such\.package' is neither a folder here nor a package"),
        ({}, {"partitions": "many"}, r"BELUGA_PARTITIONS is wrong: .* \(got 'many'\)"),
        ({}, {"role": "coordinator,cook"}, r"BELUGA_ROLE is wrong: "),
        ({}, {"broker": "kafka://somewhere"}, r"'kafka://somewhere' is not a Kafka address: write host:port"),
        ({"topics/t.yaml": "topics: [{name: t, partitions: none}]"}, {}, r"topics/t\.yaml: topic 't': partitions: "),
        ({"topics/t.yaml": "topics: [a: b: c]"}, {}, r"topics/t\.yaml is no YAML: "),
    ],
    ids=["syntax", "import", "one name", "package", "number", "role", "address", "declaration", "yaml"],
)  # fmt: skip
def test_what_is_wrong_in_the_deployment_is_one_line(
    broker: str, tmp_path: Path, files: Mapping[str, str], settings: Mapping[str, str], told: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code, said = _started(**{"broker": broker, "folder": tmp_path, **settings})  # type: ignore[arg-type]
    assert code != 0
    assert re.search(told, _reason(said)), said


def test_no_broker_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    code, said = _started("127.0.0.1:1", tmp_path, broker_patience_seconds="6")
    assert code == 1
    assert said.count("Kafka at 127.0.0.1:1 has not answered for 5 s (connecting): waiting, for 6 s at most") == 1
    assert _reason(said) == "no Kafka broker answers at 127.0.0.1:1 (tried for 6 s)"


def test_a_gateway_waits_for_its_broker_as_well(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", "serve", "--broker", "127.0.0.1:1"],
        env={
            **os.environ,
            "PYTHONPATH": str(_REPO),
            "BELUGA_BROKER_PATIENCE_SECONDS": "6",
            "BELUGA_HTTP_ADDRESS": "127.0.0.1:0",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=_END_SECONDS,
        check=False,
    )
    assert ended.returncode == NO_BROKER
    assert ended.stderr.count("Kafka at 127.0.0.1:1 has not answered for 5 s (connecting): waiting, for 6 s") == 1
    assert ended.stderr.splitlines()[-1] == "beluga: no Kafka broker answers at 127.0.0.1:1 (tried for 6 s)"


async def test_a_topic_with_other_partitions_than_declared_is_refused(
    broker: str, tmp_path: Path, topic_prefix: str
) -> None:
    name = f"{topic_prefix}docs"
    async with KafkaTopics(KafkaConnection.parse(broker)) as topics:
        await topics.ensure([TopicSpec(name, 1)])
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "docs.yaml").write_text(f"topics: [{{name: {name}, partitions: 3}}]")
    code, said = await asyncio.to_thread(_started, broker, tmp_path)
    assert code == 1
    assert _reason(said) == f"topic {name} has 1 partitions, but 3 are declared: declare 1, or move to a new topic"


async def test_a_table_that_is_not_compacted_is_refused(broker: str, tmp_path: Path, topic_prefix: str) -> None:
    """Topics are often made by somebody else beforehand."""
    prefix = f"{topic_prefix}made"
    changelog = f"{prefix}-coordinator-runs-changelog"
    async with KafkaTopics(KafkaConnection.parse(broker)) as topics:
        await topics.ensure([TopicSpec(changelog, 4)])
        code, said = await asyncio.to_thread(lambda: _started(broker, tmp_path, prefix=prefix))
        assert code == 1
        assert _reason(said).startswith(f"topic {changelog}: cleanup.policy is delete and must be compact, or ")
        assert _reason(said).endswith(f"--entity-name {changelog} --add-config cleanup.policy=compact")
        assert list(await topics.describe([f"{prefix}.run-requests"])) == [], "and nothing was created"


async def test_lesser_differences_are_told(
    broker: str, tmp_path: Path, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.load(broker=broker, prefix=f"{topic_prefix}made", topics=tmp_path)
    node_done = f"{settings.prefix}.node-done"
    async with KafkaTopics(kafka(settings)) as topics:
        await topics.ensure([TopicSpec(node_done, 4, {"retention.ms": "60000"})])
    for _ in range(2):
        caplog.clear()
        await prepare(settings, kafka(settings), None)
        told = {record.action: record.getMessage() for record in caplog.records if hasattr(record, "action")}
        assert told.pop("topics_differ") == (
            f"not as declared: retention.ms is 60000 and not 604800000: {node_done}; "
            "`beluga doctor` tells how to mend it"
        )
        assert "topics_unchecked" not in told


@pytest.mark.parametrize("topic", ["run-requests", "node-done"])
async def test_a_topic_that_was_recreated_is_refused(
    real_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    declare(tmp_path)
    engine = Engine(real_broker, tmp_path, agents="tests.acceptance.notes")
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    engine.start()
    async with connect() as client:
        for number in range(8):
            await (await client.start(notes, Doc(text=f"To be. {number}."))).result(timeout=30)
    assert engine.stop() == 0

    name = f"{engine.prefix}.{topic}"
    async with KafkaTopics(KafkaConnection.parse(real_broker)) as topics:
        await topics.delete([name])
        async with asyncio.timeout(30):
            while await topics.describe([name]):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.05)
        await topics.ensure([TopicSpec(name, 4)])

    settings = {name.removeprefix("BELUGA_").lower(): value for name, value in engine.environ.items()
                if name.startswith("BELUGA_") and name != "BELUGA_LOG_FORMAT"}  # fmt: skip
    broker = settings.pop("broker")
    code, said = await asyncio.to_thread(lambda: _started(broker, tmp_path, **settings))
    assert code == 1
    assert f"topic {name} was deleted and created again" in said
