"""`beluga init`: what it writes is the README's, is right, and passes its own test; and it overwrites nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from beluga_stream.cli.main import app
from beluga_stream.cli.project import FILES

ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "my shop"
    done = runner.invoke(app, ["init", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"cd '{folder}' && beluga dev" in done.stdout
    return folder


def test_its_graph_is_the_one_of_the_readme(project: Path) -> None:
    shown = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert (project / "agents" / "notes.py").read_text() == shown.group(1)


def _said(project: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=project, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_graph_runs_without_a_broker(project: Path) -> None:
    assert _said(project, "agents/notes.py") == "TO BE / OR NOT TO BE (To, Or)\n"


def test_its_graph_and_topic_are_valid(project: Path) -> None:
    told = json.loads(_said(project, "-m", "beluga_stream.cli", "graph", "validate", "--json"))
    assert told == {"graphs": ["notes"], "topics": ["notes.submitted"], "undeclared": [], "cut_short": []}


def test_its_test_passes(project: Path) -> None:
    assert "10 passed" in _said(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.parametrize("name", FILES)
def test_it_overwrites_nothing_and_then_writes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    done = runner.invoke(app, ["init", str(tmp_path), "--json"])
    assert done.exit_code == 2
    assert f"{tmp_path / name} is there already" in json.loads(done.stderr)["error"]["message"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_where_it_may_not_write_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("")
    done = runner.invoke(app, ["init", str(tmp_path / "shop")])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "cannot be written: Not a directory" in done.stderr


def test_without_a_folder_it_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["init", "--json"])
    assert json.loads(done.stdout) == {"folder": ".", "files": list(FILES)}
    assert all((tmp_path / name).is_file() for name in FILES)
