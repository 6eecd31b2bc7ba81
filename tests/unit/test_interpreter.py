"""What the interpreter decides by itself, without a server."""

from typing import Any

import pytest

from beluga_stream.adapters.temporal import interpreter
from beluga_stream.adapters.temporal.backlog import Backlog
from beluga_stream.adapters.temporal.envelopes import Records
from beluga_stream.adapters.temporal.interpreter import Interpreter


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun by an earlier version"])
async def test_an_alarm_that_rings_while_the_log_is_told_is_heard(
    monkeypatch: pytest.MonkeyPatch,
    is_new: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A timer and the end of an activity may come in one task, in this order: no condition is looked at between."""
    made = Interpreter.__new__(Interpreter)
    made._backlog, made._woken, made._unshown = Backlog(), False, [Records(())]

    async def told(*_: Any) -> None:
        await made._ring(0.001)

    async def rung(_: float) -> None:
        return

    monkeypatch.setattr(interpreter, "locally", told)
    monkeypatch.setattr(interpreter.workflow, "sleep", rung)
    monkeypatch.setattr(interpreter.workflow, "patched", lambda _: is_new)
    await made._show()
    assert made._woken is is_new, "a history that was recorded otherwise replays as it was"
