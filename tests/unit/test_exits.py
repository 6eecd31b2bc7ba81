"""How a command ends: what its error is told as, and a reader that has seen enough."""

import json
import subprocess
import sys

import pytest
import typer

from beluga_stream.cli.exits import perform
from beluga_stream.errors import LogUnavailable, NotFound


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
