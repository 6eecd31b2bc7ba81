"""Folders that processes claim: one for each that lives, and none that stays behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from beluga_stream.adapters.files.claimed import claimed
from beluga_stream.errors import InvalidConfig

_HOLDS = """
import sys
from pathlib import Path
from beluga_stream.adapters.files.claimed import claimed

with claimed(Path(sys.argv[1])) as folder:
    (folder / "rows").write_text("")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def holds(below: Path) -> "subprocess.Popen[str]":
    """Another process that claims a folder, and has said which."""
    command = [sys.executable, "-c", _HOLDS, str(below)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_living_process_has_one_and_what_a_killed_one_has_left_is_the_next_ones(tmp_path: Path) -> None:
    with holds(tmp_path) as other:
        assert said(other) == "0"
        with claimed(tmp_path) as mine:
            assert mine.name == "1"
            assert (tmp_path / "0" / "rows").exists()
        other.kill()
    with claimed(tmp_path) as mine:
        assert mine.name == "0"
        assert list(mine.iterdir()) == []


def test_a_process_that_claims_twice_has_two(tmp_path: Path) -> None:
    with claimed(tmp_path) as one, claimed(tmp_path) as another:
        assert one != another


def test_nothing_is_left_of_one_that_ended(tmp_path: Path) -> None:
    with claimed(tmp_path) as folder:
        (folder / "rows").write_text("")
    assert not folder.exists()


def test_where_there_can_be_none_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match=r"below .*file: File exists"), claimed(tmp_path / "file"):
        pass
