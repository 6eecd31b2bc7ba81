"""What runs the app writes nothing among the lines of the log."""

import io

import faust
import pytest

from beluga_stream.adapters.faust.command import PromptWorker


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stdout", "turns"), [(io.StringIO(), False), (Terminal(), True)], ids=["file", "terminal"])
async def test_a_spinner_turns_where_somebody_looks_on(stdout: io.StringIO, turns: bool) -> None:  # noqa: FBT001 - a column
    app = faust.App("quiet", broker="memory://", autodiscover=False)
    assert (PromptWorker(app, stdout=stdout).spinner is not None) is turns
