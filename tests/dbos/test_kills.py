"""A process that dies, and one that takes over what it has left."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

_PROCESS = [sys.executable, "-W", "error", "-m", "tests.dbos.works"]


def ran(folder: Path) -> Counter[str]:
    return Counter((folder / "ran").read_text().split())


def test_a_run_goes_on_after_its_process_was_killed(tmp_path: Path) -> None:
    for what, said in (("start", ["stays"] * 3 + ["told"]), ("go on", ["stays"] * 3)):
        with subprocess.Popen([*_PROCESS, str(tmp_path), what], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert sorted(process.stdout.readline().strip() for _ in said) == said
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
    assert ran(tmp_path) == {"first": 1, "second": 2, "counts": 2, "again": 2}

    (tmp_path / "go").touch()
    done = subprocess.run([*_PROCESS, str(tmp_path), "go on"], capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout == "[3, [0, 1, 2, 3], [0, 1, 2, 3], 'hello']\n", done.stderr
    assert done.stderr == ""
    assert ran(tmp_path) == {"first": 1, "second": 3, "counts": 3, "again": 3}
