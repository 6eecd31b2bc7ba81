"""Every Python snippet of the documents runs; what the README has, against a live engine, as a newcomer would."""

import ast
import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beluga_stream.bootstrap.settings import Settings
from beluga_stream.bootstrap.topic_files import DeclaredTopic, load_topics
from beluga_stream.ports.log import TopicSpec
from tests.engine import Engine, client_environ, running

_REPO = Path(__file__).resolve().parents[2]
_README = _REPO / "README.md"
_OF_OTHERS = ("testing.md", "http.md", "workflows.md")
"""Run by simulation/test_documented.py, acceptance/test_http_document.py and temporal/test_document.py in tests/."""
_DOCUMENTS = [
    path
    for path in sorted((_REPO / "docs").rglob("*.md"))
    if "```python" in path.read_text() and path.name not in _OF_OTHERS
]


def _snippets(path: Path) -> Iterator[tuple[int, str]]:
    """Each Python block with the line it begins at."""
    text = path.read_text()
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start(1)), found.group(1)


def _run(path: Path, line: int, code: str, names: dict[str, Any]) -> None:
    """Run a block in the names of those before it; `await` may stand at the top, as in a notebook."""
    compiled = compile("\n" * line + code, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if asyncio.iscoroutine(result):
        asyncio.run(result)


def _said(line: int, code: str, names: dict[str, Any]) -> str:
    """What a block prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        _run(_README, line, code, names)
    return said.getvalue()


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: path.name)
def test_the_snippets_of_a_document_run(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents").mkdir()
    names: dict[str, Any] = {"__name__": "snippets"}
    for line, code in _snippets(path):
        _run(path, line, code, names)


def test_the_readmes_graph_runs_here() -> None:
    first_line, graph = next(_snippets(_README))
    assert first_line <= 30, "runnable code stands within 30 lines"
    assert _said(first_line, graph, {"__name__": "__main__"}) == "TO BE / OR NOT TO BE (To, Or)\n"


@pytest.fixture(scope="module")
def notes(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The README's graph on an engine: its file lies in `agents/`, and no topic is declared."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "agents").mkdir()
    (folder / "agents" / "notes.py").write_text(next(_snippets(_README))[1])
    with running(broker, folder, agents="agents") as engine:
        yield engine


def test_the_readmes_client_prints_what_streams_out(notes: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, graph), (line, client) = _snippets(_README)
    for name, value in client_environ(notes).items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {"__name__": "snippets"}
    exec(graph, names)
    _run(_README, line, client, names)
    assert _said(0, "await main()", names) == "digest To\ndigest Or\nTO BE / OR NOT TO BE (To, Or)\n"


def test_the_readmes_commands_publish_an_event_and_run_the_graph(notes: Engine, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```console\n([^`]*beluga publish[^`]*)^```$", _README.read_text(), re.MULTILINE)
    commands = [line.removeprefix("$ ").partition("  #")[0].rstrip() for line in block.splitlines()]
    assert commands[:2] == ["export BELUGA_BROKER=localhost:9092", "faust -A beluga_stream worker"], "as `notes` does"
    environ = os.environ | client_environ(notes) | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def said(command: str) -> str:
        shell = ["bash", "-c", command]
        done = subprocess.run(shell, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def succeeded() -> set[str]:
        listed = json.loads(said("beluga runs list --graph notes --status succeeded --json"))
        return {run["run"] for run in listed}

    publish, run = commands[2:]
    before = succeeded()
    said(publish)
    while not (started := succeeded() - before):
        pass  # the command takes a moment, and the test has its timeout
    for output in (said(run), *(said(f"beluga watch {each}") for each in started)):
        assert output.splitlines()[-1] == '"TO BE / OR NOT TO BE (To, Or)"'


def test_the_topics_that_a_document_declares_can_be_declared_and_every_key_is_told(tmp_path: Path) -> None:
    page = (_REPO / "docs" / "triggers.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "topics.yaml").write_text(block)
    orders, customers, clicks = load_topics(Settings.load(topics=tmp_path, partitions=7, replication=2))
    assert orders == TopicSpec(
        "orders",
        12,
        {"retention.ms": str(30 * 86_400_000), "cleanup.policy": "delete", "min.insync.replicas": "2"},
        3,
    )
    assert customers.config["cleanup.policy"] == "compact"
    assert (clicks.partitions, clicks.replication, clicks.config["retention.ms"]) == (7, 2, str(7 * 86_400_000))
    section = page.partition("## Declaring topics")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(DeclaredTopic.model_fields)


def test_the_tests_that_a_document_names_exist() -> None:
    named = re.compile(r"`(test_\w+)`")
    names = {name for path in _REPO.rglob("docs/**/*.md") for name in named.findall(path.read_text())}
    assert names
    code = "\n".join(path.read_text() for path in (_REPO / "tests").rglob("test_*.py"))
    assert sorted(name for name in names if f"def {name}(" not in code) == []
