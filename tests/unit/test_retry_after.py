"""An error may say when to come again: the next attempt waits for that, and for the pause of its `Retry`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from beluga_stream import BusMessage, Orchestrator, Retry, Scheduler, Task, local_bus, node
from beluga_stream.application.execution.judging import asked_pause_ms
from beluga_stream.testing.virtual_time import run_virtually

SOON = Retry(2, first=0.001, most=120)


class Busy(Exception):
    def __init__(self, retry_after: object) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


class Response:
    """As httpx, requests and openai have it; that of requests is false when it is no success."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __bool__(self) -> bool:
        return False


class HttpError(Exception):
    def __init__(self, response: Response | None) -> None:
        super().__init__("429")
        self.response = response


class HeadersError(Exception):
    """As aiohttp has it."""

    headers = Response(Retry_After="2").headers


class Broken(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError("a defect")


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (ValueError("no"), 0),
        (Busy(None), 0),
        (Busy(1.5), 1_500),
        (Busy(timedelta(minutes=2)), 120_000),
        (Busy(-3), 0),
        (Busy(float("nan")), 0),
        (Busy(float("inf")), 86_400_000),
        (Busy("soon"), 0),
        (Broken(), 0),
        (HttpError(Response(Retry_After="7")), 7_000),
        (HttpError(Response(Retry_After="Sun, 29 Nov 2026 12:00:00 GMT")), 0),
        (HttpError(Response()), 0),
        (HttpError(None), 0),
        (HeadersError(), 2_000),
        (ExceptionGroup("two", [Busy(1), ExceptionGroup("three", [Busy(4), ValueError()])]), 4_000),
    ],
)
def test_what_an_error_asks_for(error: Exception, pause: int) -> None:
    assert asked_pause_ms(error) == pause


def _busy_once() -> Callable[[int], Awaitable[int]]:
    asked = []

    @node(retry=SOON)
    async def work(value: int) -> int:
        asked.append(value)
        if len(asked) == 1:
            raise Busy(90)
        return value

    return work


async def _chain_without_the_engine() -> None:
    async with Orchestrator() as orchestrator:
        assert await orchestrator.create_chain(_busy_once()).invoke(1) == 1


async def _decorated() -> None:
    assert await SOON(_busy_once())(1) == 1


async def _task() -> None:
    work = _busy_once()

    async def of_one() -> int:
        return await work(1)

    async with Scheduler() as scheduler:
        assert await scheduler.submit(Task("work", of_one, retry=SOON)).result() == 1


async def _message() -> None:
    work = _busy_once()

    async def hear(message: BusMessage[int]) -> int:
        return await work(message.data)

    async with local_bus() as bus:
        await bus.subscribe("busy", int, hear, retry=SOON)
        assert await bus.request("busy", 1, int, timeout=120) == 1


@pytest.mark.parametrize("play", [_chain_without_the_engine, _decorated, _task, _message])
def test_the_next_attempt_waits_for_what_the_error_asks_for(play: Callable[[], Awaitable[Any]]) -> None:
    async def timed() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await play()
        return loop.time() - began

    assert 90 <= run_virtually(timed(), 1) < 91
