"""mypy strict and pyright strict accept the programs of `tests/types`, and reject each of the mistakes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

TYPES = Path(__file__).parent.parent / "types"
ROOT = TYPES.parent.parent
GOOD = ("programs.py", "more.py")
BAD = ("bad.py", "bad_triggers.py", "bad_agents.py")

Found = Mapping[str, Mapping[int, str]]
"""The first error of each line, by file."""


def _mistakes(bad: str) -> Mapping[int, str]:
    """The lines of a bad program that must be rejected: those with a number."""
    lines = (TYPES / bad).read_text().splitlines()
    return {at: match[1] for at, line in enumerate(lines, 1) if (match := re.search(r"# (\d+)\b.*$", line))}


_MISTAKES = [(bad, line, number) for bad in BAD for line, number in _mistakes(bad).items()]


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Found:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    command += [
        "--no-error-summary",
        "--hide-error-context",
        "--cache-dir",
        str(tmp_path_factory.mktemp("mypy")),
    ]
    done = subprocess.run(
        [*command, *GOOD, *BAD],
        cwd=TYPES,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {}
    for line in done.stdout.splitlines():
        match = re.match(r"([\w./]+):(\d+): error: (.*)", line)
        if match:
            found.setdefault(Path(match[1]).name, {}).setdefault(int(match[2]), match[3])
    return found


@pytest.fixture(scope="module")
def pyright() -> Found:
    pytest.importorskip("pyright")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node")
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(TYPES),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {}
    for one in json.loads(done.stdout[done.stdout.index("{") :])["generalDiagnostics"]:
        if one["severity"] == "error":
            lines = found.setdefault(Path(one["file"]).name, {})
            lines.setdefault(one["range"]["start"]["line"] + 1, one["message"])
    return found


@pytest.fixture(params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> Found:
    found: Found = request.getfixturevalue(request.param)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", GOOD)
def test_programs_type_check(checker: Found, program: str) -> None:
    assert checker.get(program, {}) == {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("bad", "line", "number"), _MISTAKES, ids=str)
def test_each_mistake_is_rejected(checker: Found, bad: str, line: int, number: str) -> None:
    assert line in checker[bad], f"mistake {number} passes"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bad", BAD)
def test_nothing_but_the_mistakes_is_rejected(checker: Found, bad: str) -> None:
    style = ("Import", "Wildcard", "Expression value", "Type of")
    others = {at: told for at, told in checker[bad].items() if at not in _mistakes(bad) and not told.startswith(style)}
    assert others == {}


def test_there_are_27_mistakes_of_graphs_and_chains_twelve_of_triggers_and_ten_of_agents() -> None:
    assert [len(_mistakes(bad)) for bad in BAD] == [27, 12, 10]
