"""Every Python snippet of the documents runs; those of the README against a live engine, as a newcomer would."""

import ast
import asyncio
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beluga_stream.bootstrap import deployment
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.ports.log import TopicSpec
from tests.engine import client_environ, running

_REPO = Path(__file__).resolve().parents[2]
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


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: path.name)
def test_the_snippets_of_a_document_run(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents").mkdir()
    names: dict[str, Any] = {"__name__": "snippets"}
    for line, code in _snippets(path):
        _run(path, line, code, names)


def test_the_readme_is_true(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    readme = _REPO / "README.md"
    (first_line, graph), (second_line, client) = _snippets(readme)
    assert first_line <= 30, "runnable code stands within 30 lines"

    names: dict[str, Any] = {"__name__": "__main__"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        _run(readme, first_line, graph, names)
    assert said.getvalue() == "TO BE / OR NOT TO BE (To, Or)\n"

    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "notes.py").write_text(graph)
    with running(broker, tmp_path, agents="agents") as engine:
        for name, value in client_environ(engine).items():
            monkeypatch.setenv(name, value)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            _run(readme, second_line, client, names)
            asyncio.run(names["main"]())
    assert said.getvalue() == "digest To\ndigest Or\nTO BE / OR NOT TO BE (To, Or)\n"


def test_the_topics_that_a_document_declares_can_be_declared_and_every_key_is_told(tmp_path: Path) -> None:
    page = (_REPO / "docs" / "triggers.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "topics.yaml").write_text(block)
    orders, customers, clicks = deployment.load_topics(Settings.load(topics=tmp_path, partitions=7, replication=2))
    assert orders == TopicSpec(
        "orders",
        12,
        {"retention.ms": str(30 * 86_400_000), "cleanup.policy": "delete", "min.insync.replicas": "2"},
        3,
    )
    assert customers.config["cleanup.policy"] == "compact"
    assert (clicks.partitions, clicks.replication, clicks.config["retention.ms"]) == (7, 2, str(7 * 86_400_000))
    section = page.partition("## Declaring topics")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(deployment.DeclaredTopic.model_fields)


def test_the_tests_that_a_document_names_exist() -> None:
    named = re.compile(r"`(test_\w+)`")
    names = {name for path in _REPO.rglob("docs/**/*.md") for name in named.findall(path.read_text())}
    assert names
    code = "\n".join(path.read_text() for path in (_REPO / "tests").rglob("test_*.py"))
    assert sorted(name for name in names if f"def {name}(" not in code) == []
