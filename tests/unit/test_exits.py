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
    assert b"Traceback" not in done.stderr


def test_a_wrong_setting_that_the_loop_depends_on_is_one_document() -> None:
    done = _typed("serve", "--json", BELUGA_PARTITIONS="x")
    assert json.loads(done.stderr)["error"]["code"] == "invalid_config"


@pytest.mark.parametrize("words", [["graph", "validate"], ["graph", "validate", "--json"], ["docs", "openapi"]])
def test_a_reader_that_has_seen_enough_is_no_failure(words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "beluga_stream.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
        assert command.wait(30) == 0
