"""The blocking client: the same as the asynchronous one, in a thread, on an engine of fakes."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from beluga_stream import blocking
from beluga_stream.api.client import Client
from beluga_stream.application.clients.answer import Asked
from beluga_stream.application.clients.results import Chunk, Event, RunChanged
from beluga_stream.errors import InvalidState, LogUnavailable, TimedOut


class Desk:
    """Stands for `Runs`: every run says two words and succeeds, but `slow`, which never ends."""

    def __init__(self) -> None:
        self.closed = False
        self.left = False
        self.threads: set[str] = set()

    async def start(self, graph: str, value: Any, **_: Any) -> str:
        self.threads.add(threading.current_thread().name)
        return f"run-of-{graph}"

    def asked(self, run: str) -> Asked:
        return Asked()

    async def follow(self, run: str, **_: Any) -> AsyncIterator[Event]:
        try:
            for seq, word in enumerate(["well", "done"]):
                yield Chunk(cursor=f"0-{seq}", node="say", attempt=1, incarnation="a", seq=seq, value=word)
                await asyncio.sleep(0)
            if run == "run-of-slow":
                await asyncio.sleep(60)
            yield RunChanged(cursor="0-2", status="succeeded")
        finally:
            self.left = True

    async def result(self, run: str, **_: Any) -> Any:
        if run == "run-of-slow":
            raise TimedOut(f"run {run} did not end", run=run)
        return {"said": 2}


def client(desk: Desk) -> blocking.Client:
    @asynccontextmanager
    async def opener() -> AsyncIterator[Any]:
        yield desk
        desk.closed = True

    return blocking.Client(Client(opener))


def test_starts_follows_and_waits() -> None:
    desk = Desk()
    with client(desk) as beluga:
        run = beluga.start("talk", {"to": "us"})
        events = list(run.stream())
        assert [event.value for event in events if isinstance(event, Chunk)] == ["well", "done"]
        assert isinstance(events[-1], RunChanged)
        assert run.result(timeout=1) == {"said": 2}
    assert desk.closed
    assert desk.threads == {"beluga-blocking"}


def test_leaving_a_stream_early_closes_it() -> None:
    desk = Desk()
    with client(desk) as beluga:
        events = beluga.start("slow", None).stream()
        assert isinstance(next(events), Chunk)
        events.close()
        assert desk.left


def test_a_stream_that_is_garbage_in_the_thread_of_the_loop_does_not_stop_it() -> None:
    desk = Desk()
    with client(desk) as beluga:
        events = beluga.start("slow", None).stream()
        assert isinstance(next(events), Chunk)
        loop = beluga._running._loop
        held = [events]
        del events
        loop.call_soon_threadsafe(held.clear)
        assert beluga.start("talk", None).id == "run-of-talk"
        while not desk.left:
            beluga.start("talk", None)


def test_what_is_asked_while_the_client_is_being_closed_is_refused() -> None:
    entered, leaving, go = threading.Event(), threading.Event(), threading.Event()

    class Slow(Desk):
        async def result(self, run: str, **_: Any) -> Any:
            try:
                entered.set()
                await asyncio.sleep(60)
            finally:
                leaving.set()
                await asyncio.to_thread(go.wait, 10)

    def is_closed_meanwhile() -> None:
        with pytest.raises(InvalidState, match="during this call"):
            run.result()

    beluga = client(Slow())
    beluga.__enter__()
    run = beluga.start("slow", None)
    loop = beluga._running
    waiting = threading.Thread(target=is_closed_meanwhile)
    waiting.start()
    assert entered.wait(10)
    closing = threading.Thread(target=loop.stop)
    closing.start()
    assert leaving.wait(10)
    with pytest.raises(InvalidState, match="closed"):
        run.result()
    go.set()
    for thread in (waiting, closing):
        thread.join(10)
        assert not thread.is_alive()


def test_errors_arrive_as_they_are() -> None:
    with client(Desk()) as beluga, pytest.raises(TimedOut):
        beluga.start("slow", None).result(timeout=0.1)


async def test_runs_of_a_client_without_a_thread_that_is_closed_say_so() -> None:
    @asynccontextmanager
    async def opener() -> AsyncIterator[Any]:
        yield Desk()

    beluga = Client(opener)
    async with beluga:
        run = await beluga.start("talk", None)
    with pytest.raises(InvalidState, match="not connected"):
        await run.result()
    with pytest.raises(InvalidState, match="not connected"):
        await anext(run.stream())
    with pytest.raises(InvalidState, match="not connected"):
        await run.cancel()
    with pytest.raises(InvalidState, match="not connected"):
        beluga.run(cast("Any", None), "r")
    async with beluga:
        assert await run.result() == {"said": 2}


def test_a_client_that_is_not_open_says_so() -> None:
    beluga = client(Desk())
    with pytest.raises(InvalidState, match="with connect"):
        beluga.start("talk", None)
    with beluga:
        run = beluga.start("talk", None)
    with pytest.raises(InvalidState, match="closed"):
        run.result()
    with beluga:  # it opens again
        assert beluga.start("talk", None).id == "run-of-talk"


def test_without_a_broker_it_fails_on_entry_and_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_BROKER", "127.0.0.1:1")
    with pytest.raises(LogUnavailable), blocking.connect():
        pass
    assert "beluga-blocking" not in {thread.name for thread in threading.enumerate()}


def test_many_threads_share_one_client() -> None:
    with client(Desk()) as beluga:
        results: list[Any] = []
        threads = [
            threading.Thread(target=lambda: results.append(beluga.start("talk", None).result())) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert results == [{"said": 2}] * 8
