"""A command that is told to stop stops, whatever it is in the midst of."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_BLOCKS = """
import time
with open({told!r}, "w") as told:
    told.write("here")
time.sleep(3600)
"""


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("graph", "validate"), ("doctor",)])
def test_one_signal_ends_a_command_while_a_file_blocks_its_import(
    tmp_path: Path, told: signal.Signals, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, agents = tmp_path / "begun", tmp_path / "agents"
    os.mkfifo(begun)
    agents.mkdir()
    (agents / "blocks.py").write_text(_BLOCKS.format(told=str(begun)))
    monkeypatch.setenv("BELUGA_AGENTS", str(agents))
    with subprocess.Popen([sys.executable, "-m", "beluga_stream.cli", *words], stdout=subprocess.DEVNULL) as command:
        assert begun.read_text() == "here"
        command.send_signal(told)
        assert command.wait(20) == 130
