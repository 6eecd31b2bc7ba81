"""Lists of runs on the terminal: their order, why those that failed did, and names that are misspelt."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from beluga_stream.application import codec
from beluga_stream.application.messages import Summary
from beluga_stream.application.partitioner import partition_of
from beluga_stream.cli import history
from beluga_stream.cli.screen import console
from beluga_stream.domain.events import Failure
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import NotFound
from beluga_stream.ports.log import Outgoing
from tests.unit.desks import PARTITIONS, Desk, Mood, graph

ALL = history.Wanted(None, None, {}, None)


def summary(run: str, started_ms: int, **more: Any) -> Summary:
    return Summary(run=RunId(run), started_ms=started_ms, graph="test", trigger="api", **{"status": "running", **more})


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Desk, None]:
    async with Desk(graph(Mood())).open() as desk:

        @asynccontextmanager
        async def opened(*_: object, **__: object) -> AsyncGenerator[Any, None]:
            async with desk.client() as runs:
                yield runs

        monkeypatch.setattr(history, "open_desk", opened)
        yield desk


async def remember(desk: Desk, *summaries: Summary) -> None:
    await desk.log.append(
        [
            Outgoing(
                desk.topics.runs,
                each.run.encode(),
                codec.summaries.encode(each),
                partition=partition_of(each.run.encode(), PARTITIONS),
            )
            for each in summaries
        ]
    )


async def listed(wanted: history.Wanted = ALL) -> str:
    with console.capture() as captured:
        await history.list_runs(wanted, limit=50, broker=None, as_json=False)
    return captured.get()


async def test_runs_that_started_together_are_always_in_the_same_order(desk: Desk) -> None:
    runs = [f"r{number}" for number in range(9)]
    await remember(desk, *(summary(run, 5) for run in reversed(runs)), summary("newest", 6))
    shown = [line.split()[0] for line in (await listed()).splitlines()[1:]]
    assert shown == ["newest", *reversed(runs)]


async def test_a_run_that_failed_says_why_where_there_is_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await remember(desk, summary("well", 5))
    assert "why" not in await listed()
    why = "think raised RuntimeError: the model\nis away " + "and " * 30
    await remember(desk, summary("ill", 6, status="failed", ended_ms=7, failure=Failure("execution_failed", why)))
    monkeypatch.setattr(console, "width", 160)
    shown = await listed()
    assert "think raised RuntimeError: the model is away and and and" in shown
    assert shown.count("\n") == 3, "a line for each"
    monkeypatch.setattr(console, "width", 80)
    assert "think" not in await listed()


async def test_an_empty_list_says_which_graph_is_meant(desk: Desk) -> None:
    await remember(desk, summary("r", 5))
    assert await listed(history.Wanted("tset", None, {}, None)) == "no runs: is --graph test meant?\n"
    assert await listed(history.Wanted("test", "failed", {}, None)) == "no runs\n"


def test_a_node_that_has_given_nothing_may_be_misspelt() -> None:
    view = history.RunView("r", "test")
    view.apply(history.NodeChanged(cursor="0-0", at_ms=1, node="think", attempt=1, status="running"))
    assert isinstance(history._nothing_of("thnk", view, "r"), NotFound)
    assert str(history._nothing_of("thnk", view, "r")).endswith("(yet): is 'think' meant?")
    assert str(history._nothing_of("think", view, "r")).endswith("(yet)")
