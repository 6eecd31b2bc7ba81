"""A graph whose every call is a workflow: none is left behind that nobody waits for."""

from typing import Any

import pytest

from beluga_stream import Graph, Signal
from beluga_stream.bootstrap.workflow_work import WorkflowWork
from beluga_stream.errors import BelugaError, InvalidInput, NotFound, RunFailed, TemporalUnavailable
from beluga_stream.ports.workflow_runner import Started

word = Signal("word", str)


class Engine:
    """The port `WorkflowRunner`, as far as it is asked: `fails` a signal, and then there is no result."""

    def __init__(self, fails: BelugaError | None = None) -> None:
        self.fails = fails
        self.calls: list[Any] = []

    async def start(self, value: Any, workflow_id: str) -> Started:
        self.calls.append("start")
        return Started(workflow_id)

    async def signal(self, started: Started, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if self.fails is not None:
            raise self.fails

    async def cancel(self, started: Started, reason: str) -> None:
        self.calls.append("cancel")

    async def result(self, started: Started) -> Any:
        if self.fails is not None:
            raise RunFailed("its node failed")
        return "done"


def made(engine: Engine) -> WorkflowWork:
    asked = Graph[int, str]("asked")
    asked.set_finish_point(asked.wait(word, timeout=60))
    return WorkflowWork(asked.compile(), engine)  # type: ignore[arg-type]  # what else a runner has is not asked for


async def test_signals_are_sent_behind_the_start() -> None:
    engine = Engine()
    assert await made(engine).invoke(1, signals={word: "yes"}) == "done"
    assert engine.calls == ["start", ("word", "yes")]


async def test_a_signal_of_another_type_begins_nothing() -> None:
    engine = Engine()
    with pytest.raises(InvalidInput, match="'word' fails its type"):
        await made(engine).invoke(1, signals={word: 3})
    assert engine.calls == []


async def test_one_that_cannot_be_signalled_is_cancelled() -> None:
    engine = Engine(TemporalUnavailable("away"))
    with pytest.raises(TemporalUnavailable):
        await made(engine).invoke(1, signals={word: "yes"})
    assert engine.calls == ["start", ("word", "yes"), "cancel"]


async def test_one_that_has_ended_before_its_signal_says_how() -> None:
    engine = Engine(NotFound("it has ended"))
    with pytest.raises(RunFailed, match="its node failed"):
        await made(engine).invoke(1, signals={word: "yes"})
    assert engine.calls == ["start", ("word", "yes")]
