"""How a command ends: what its error is told as, and a reader that has seen enough."""

import json
import os
import subprocess
import sys

import pytest
import typer

from beluga_stream.cli.exits import perform
from beluga_stream.errors import LogUnavailable, NotFound, RunFailed


async def _raises(error: Exception) -> None:
    raise error


def _told(error: Exception, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    with pytest.raises(typer.Exit) as ended:
        perform(_raises(error), as_json=True)
    said = capsys.readouterr().err
    return ended.value.exit_code, json.loads(said)["error"] if said else {}


def test_errors_of_tasks_that_belong_together_are_told_as_the_first_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [LogUnavailable("it is gone")]), NotFound("nothing")])
    code, told = _told(group, capsys)
    assert (code, told["message"]) == (5, "it is gone")


def test_a_defect_among_them_is_told_as_a_defect(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = _told(ExceptionGroup("tasks", [NotFound("nothing"), KeyError("x")]), capsys)
    assert (code, told["code"]) == (1, "internal")


def test_why_a_run_failed_is_told_to_machines_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert _told(RunFailed("it failed", reason="timeout"), capsys)[1]["reason"] == "timeout"
    assert "reason" not in _told(NotFound("nothing"), capsys)[1]


def _typed(*words: str | bytes, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "beluga_stream.cli", *words]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs", "list", "--limit", "0"], "Invalid value for '--limit'"),
        (["runs", "list", "--bogus"], "No such option"),
        (["runs", "show"], "Missing argument"),
        (["run", "g", b'"\xff"'], "is not UTF-8"),
        (["run", "g", "1", "--tag", b"a=\xff"], "is not UTF-8"),
    ],
)
def test_wrong_usage_is_code_2_and_one_document_for_machines(words: list[str | bytes], said: str) -> None:
    done = _typed(*words, "--json")
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["exit_code"], error["code"]) == (2, 2, "invalid_input")
    assert said in error["message"]
    done = _typed(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(b"beluga: ")
    assert said.encode() in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""


def test_who_types_an_option_wrong_is_told_what_tells_the_right_one() -> None:
    told = _typed("runs", "show").stderr.decode()
    assert told == "beluga: Missing argument 'RUN': see `beluga runs show --help`\n"


def test_a_group_without_a_command_shows_its_help_and_nothing_else() -> None:
    done = _typed("runs")
    assert done.returncode == 2
    assert b"cancel" in done.stdout
    assert done.stderr == b""


def test_a_wrong_setting_that_the_loop_depends_on_is_one_document() -> None:
    done = _typed("serve", "--json", BELUGA_PARTITIONS="x")
    assert json.loads(done.stderr)["error"]["code"] == "invalid_config"


_PRINTS = [
    ["graph", "validate"],
    ["graph", "validate", "--json"],
    ["docs", "openapi"],
    ["acls", "worker", "--user", "u"],
    ["--help"],
    ["--version"],
]


@pytest.mark.parametrize("words", _PRINTS, ids=" ".join)
def test_a_full_disk_is_no_defect(words: list[str]) -> None:
    command = [sys.executable, "-m", "beluga_stream.cli", *words]
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    told = "standard output cannot be written: No space left on device"
    if "--json" in words:
        assert json.loads(done.stderr)["error"]["message"] == told
    else:
        assert done.stderr.decode() == f"beluga: {told}\n"


def test_where_an_error_cannot_be_written_the_exit_code_still_tells_it() -> None:
    command = [sys.executable, "-m", "beluga_stream.cli", "run", "g", "{no"]
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        assert subprocess.run(command, stderr=full, timeout=60, check=False).returncode == 2


@pytest.mark.parametrize("words", ["graph list", "graph list --json", "--version"])
def test_who_closes_standard_output_wants_none(words: str) -> None:
    command = f"{sys.executable} -m beluga_stream.cli {words} >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", _PRINTS, ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_failure(words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "beluga_stream.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
        assert command.wait(30) == 0
