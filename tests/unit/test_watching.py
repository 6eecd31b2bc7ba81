"""What `beluga run` and `beluga watch` come to, whoever has asked for what, and whichever way the engine is reached."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

import pytest

from beluga_stream.adapters.http.desk import HttpDesk
from beluga_stream.application.clients.results import RunChanged, StartRejected
from beluga_stream.cli import history
from beluga_stream.cli.following import _follow
from beluga_stream.cli.runview import RunView
from beluga_stream.cli.screen import console
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import NotFound, RunFailed, RunRejected
from tests.unit.desks import Desk, Mood, graph
from tests.unit.engines import handler, program
from tests.unit.gateways import desk_at, opened
from tests.unit.graphs import edges, node, plan


async def test_who_watches_a_run_is_not_told_that_a_start_of_somebody_else_was_refused_as_its_end(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    gate = asyncio.Event()

    async def double(value: int) -> int:
        await gate.wait()
        return value * 2

    slow = program(plan([node("a")], edges("input > a"), ["a"], "test"), {"a": handler(double)})
    async with Desk(slow).open() as desk, desk.client() as runs, desk.client() as others, desk.client() as third:
        run = await runs.start("test", 4, idempotency_key="k")
        watching = asyncio.create_task(_follow(third, RunView(run), timeout=20, as_json=True))
        await others.start("test", 5, idempotency_key="k")
        with pytest.raises(RunRejected, match="another input"):
            await _follow(others, RunView(run), timeout=20, as_json=True)
        gate.set()
        await watching
    told = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert told[-1]["status"] == "succeeded"


async def test_a_failed_run_has_failed_whatever_was_refused_after_it() -> None:
    async with Desk(graph(Mood(broken=True))).open() as desk, desk.client() as runs, desk.client() as others:
        run = await runs.start("test", 4, idempotency_key="k")
        with pytest.raises(RunFailed):
            await runs.result(run)
        await others.start("test", 5, idempotency_key="k")
        with pytest.raises(RunRejected):
            await others.result(run)
        with pytest.raises(RunFailed, match="broken"):
            await _follow(runs, RunView(run), timeout=20, as_json=True)


@pytest.mark.parametrize("by_gateway", [False, True])
async def test_who_watches_from_the_end_on_has_the_result_all_the_same(by_gateway: bool) -> None:  # noqa: FBT001
    async with (
        Desk(graph(Mood())).open() as desk,
        opened(desk) as door,
        desk_at(door.url) as http,
        desk.client() as direct,
    ):
        runs = http if by_gateway else direct
        run = await runs.start("test", 4)
        cursor = [event.cursor async for event in runs.follow(run)][-1]
        with console.capture() as captured:
            await _follow(runs, RunView(run), after=cursor, timeout=20, as_json=False)
    assert captured.get().splitlines()[-1] == "8"


async def test_a_result_that_a_gateway_cannot_give_is_not_shown_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def long(value: int) -> str:
        return "x" * 70_000

    of = plan([node("a")], edges("input > a"), ["a"], "long")
    async with (
        Desk(program(of, {"a": handler(long)})).open() as desk,
        opened(desk) as door,
        desk_at(door.url) as http,
    ):

        @contextlib.asynccontextmanager
        async def at_the_gateway(*_: object, **__: object) -> AsyncGenerator[HttpDesk, None]:
            yield http

        monkeypatch.setattr(history, "open_desk", at_the_gateway)
        run = await http.start("long", 1)
        await http.result(run)
        desk.blobs.stored.clear()
        desk.payloads._cache.clear()
        await _follow(http, RunView(run), timeout=20, as_json=True)
        with pytest.raises(NotFound, match="cannot be had"):
            await _follow(http, RunView(run), timeout=20, as_json=False)
        with console.capture() as captured:
            await history.show_run(run, node=None, broker=door.url, as_json=False)
        assert "its result cannot be had: an output of run" in captured.get()
        with pytest.raises(NotFound, match="cannot be had"):
            await history.show_run(run, node="a", broker=door.url, as_json=False)


async def test_a_start_of_no_graph_is_refused() -> None:
    async with Desk().open() as desk, desk.client() as runs, desk.client() as others:
        run = await runs.start("unknown", 4)
        for each in (runs, others):
            with pytest.raises(RunRejected, match="unknown"):
                await _follow(each, RunView(run), timeout=20, as_json=True)


def test_a_run_that_has_begun_is_not_shown_as_refused() -> None:
    refused = StartRejected(cursor="0-1", code="idempotency_conflict", message="another input", digest="d")
    view = RunView(RunId("r"), "test")
    view.apply(refused)
    assert (view.status, view.failure) == ("rejected", "another input")
    view.apply(RunChanged(cursor="0-2", status="succeeded"))
    view.apply(refused)
    assert (view.status, view.failure) == ("succeeded", "")
