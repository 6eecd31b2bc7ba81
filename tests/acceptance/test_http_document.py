"""What docs/http.md says is tried: its commands and programs, one after the other, on an engine and a gateway."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beluga_stream.domain.ids import run_id
from tests.engine import Engine, running
from tests.gateway import GatewayProcess

_REPO = Path(__file__).resolve().parents[2]
_DOCUMENT = _REPO / "docs" / "http.md"
_THERE = "http://127.0.0.1:8080"


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"^<!-- run -->\n```{kind}\n(.*?)^```$", _DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The README's graph, with its topic declared."""
    folder = tmp_path_factory.mktemp("document")
    graph = re.search(r"^```python\n(.*?)^```$", (_REPO / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert graph is not None
    for name, text in (
        ("agents/notes.py", graph.group(1)),
        ("topics/notes.yaml", "topics:\n  - name: notes.submitted\n"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with running(broker, folder, agents="agents") as engine:
        yield engine


@pytest.fixture(scope="module")
def gateway(engine: Engine) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(engine)
    gateway.start()
    yield gateway
    gateway.stop()


def test_its_commands_do_what_it_says(gateway: GatewayProcess, tmp_path: Path) -> None:
    blocks = _blocks("sh")
    assert len(blocks) == 3
    script = "\n".join(["set -euo pipefail", *blocks]).replace(_THERE, gateway.url)
    script = re.sub(r"\bcurl ", "curl --fail-with-body --max-time 60 ", script)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(_REPO)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"run":"{run_id("notes", "api", "doc-1")}"' in (tmp_path / "started").read_text()
    assert re.search(r"^id: \d+-\d+\nevent: chunk\ndata: \{.*\"value\":\"To\"\}$", done.stdout, re.MULTILINE)
    assert '"output":"TO BE / OR NOT TO BE (To, Or)"' in done.stdout
    assert '"output":["To","Or"]' in done.stdout
    assert done.stdout.count('"topic":"notes.submitted"') == 2
    assert re.search(rf"succeeded +notes +{run_id('notes', 'api', 'doc-1')}", done.stdout)


def test_its_program_prints_what_the_readme_prints(gateway: GatewayProcess) -> None:
    (program,) = _blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", program.replace(_THERE, gateway.url)],
        capture_output=True,
        text=True,
        check=False,
        cwd=_REPO,
    )
    assert done.stdout == "digest To\ndigest Or\nTO BE / OR NOT TO BE (To, Or)\n", done.stderr
