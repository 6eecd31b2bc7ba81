"""Writers and readers of streams that do what they should not: each gets a clear answer, and nothing stays behind."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from beluga_stream import Chunk, Graph, Retry, RunChanged, Stream, context, node
from beluga_stream.application.clients.cursor import Cursor
from beluga_stream.errors import BelugaError, InvalidInput, RunFailed, TimedOut

_MILLION = 1_000_000
_ONCE = Retry(1)


def _piped(writer: Any, reader: Any) -> Graph[int, Any]:
    made = Graph[int, Any]("piped")
    made.set_finish_point(made.add_node(reader, made.add_node(writer, made.input).stream))
    return made


async def count(numbers: Stream[int]) -> int:
    found = 0
    async for _ in numbers:
        found += 1
    return found


@pytest.mark.timeout(400)
async def test_a_writer_that_fails_after_a_million_chunks_fails_its_run_and_says_why() -> None:
    @node(retry=_ONCE)
    async def writes(most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number
        raise ValueError("that was one too many")

    async with asyncio.timeout(380):
        with pytest.raises(RunFailed, match="that was one too many"):
            await _piped(writes, count).invoke(_MILLION)


async def test_a_writer_that_yields_nothing_gives_its_reader_a_stream_that_ends() -> None:
    async def writes(most: int) -> AsyncIterator[int]:
        for number in range(-most):
            yield number

    assert await _piped(writes, count).invoke(1) == 0


async def test_a_writer_that_never_yields_is_ended_by_its_timeout_and_its_reader_with_it() -> None:
    @node(retry=_ONCE, timeout=0.05)
    async def writes(most: int) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield most

    with pytest.raises((RunFailed, TimedOut), match="writes"):
        await _piped(writes, count).invoke(1)


async def test_a_reader_s_own_timeout_runs_while_nothing_more_comes() -> None:
    async def writes(most: int) -> AsyncIterator[int]:
        yield most  # a reader begins with the first chunk
        await asyncio.Event().wait()

    @node(retry=_ONCE, timeout=0.05)
    async def reads(numbers: Stream[int]) -> int:
        return await count(numbers)

    with pytest.raises((RunFailed, TimedOut), match="reads"):
        await _piped(writes, reads).invoke(1)


@pytest.mark.parametrize("blocking", ["async", "thread"])
async def test_a_writer_that_yields_the_wrong_type_fails_with_the_chunk_s_place(blocking: str) -> None:
    @node(retry=_ONCE)
    async def writes(_: int) -> AsyncIterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]  # what the test is about

    @node(retry=_ONCE)
    def blocks(_: int) -> Iterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]  # what the test is about

    with pytest.raises(BelugaError, match=r"(?s)writes|blocks") as told:
        await _piped(writes if blocking == "async" else blocks, count).invoke(1)
    assert "two" in str(told.value) or "int" in str(told.value)


async def test_a_reader_that_stops_reading_holds_up_nobody() -> None:
    async def writes(most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number

    async def reads(numbers: Stream[int]) -> int:
        async for number in numbers:
            return number
        return -1

    async with asyncio.timeout(30):
        assert await _piped(writes, reads).invoke(10_000) == 0


async def test_what_a_reader_still_yields_once_its_stream_is_void_is_nobody_s() -> None:
    reading, apologised = asyncio.Event(), asyncio.Event()

    async def write(number: int) -> AsyncIterator[int]:
        yield number
        if context().attempt == 1:
            await reading.wait()
            raise ConnectionError("gone")
        await apologised.wait()
        yield number + 1

    async def read(numbers: Stream[int]) -> AsyncIterator[str]:
        attempt = context().attempt
        try:
            async for number in numbers:
                yield f"{number} in {attempt}"
                reading.set()
        except BaseException:  # noqa: BLE001 - as who answers for whatever happens
            try:
                yield "sorry"
                yield "very sorry"
            finally:
                apologised.set()

    async def collect(texts: Stream[str]) -> list[str]:
        return [f"{text}, {context().attempt}" async for text in texts]

    graph = Graph[int, list[str]]("sorry")
    written = graph.add_node(write, graph.input, retry=Retry(2, first=0.001, most=0.001))
    told = graph.add_node(read, written.stream)
    graph.set_finish_point(graph.add_node(collect, told.stream, retry=Retry(1)))
    async with asyncio.timeout(10):
        events = [event async for event in graph.stream(1)]
    chunks = [event.value for event in events if isinstance(event, Chunk) and event.node == "read"]
    assert chunks == ["1 in 1", "1 in 2", "2 in 2"]
    assert isinstance(events[-1], RunChanged)
    assert events[-1].status == "succeeded"


@pytest.mark.parametrize("text", ["", "x", "1", "1-", "-1-1", "1-1-1-1", "1e3-2", "9999-1", "0-\u0661"])
def test_a_cursor_that_is_none_or_another_run_s_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        Cursor.parse(text, 0)
