"""What handlers read of one another through the log: live, late, slowly, and when it is gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import TypeAdapter

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.clients import tails
from beluga_stream.application.execution import streams
from beluga_stream.application.execution.streams import HeldElsewhere, Live, LiveStream, ReadyStream, Streams
from beluga_stream.application.messages import NodeReady, Progress, Result
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.worker.underway import Slot
from beluga_stream.domain.events import Source
from beluga_stream.domain.ids import GraphHash, Incarnation, NodeKey, NodeName
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import InvalidInput, LogUnavailable, NotFound, StreamBroken, TimedOut
from beluga_stream.ports.log import Outgoing
from tests.unit.engines import TOPICS
from tests.unit.test_sequence import NODE, RUN, A, B, chunk, told

SOURCE = Source(NODE, A, 0, 0, counter=3)


class Place:
    """A slot that counts how often it was given back and taken again."""

    def __init__(self) -> None:
        self.held = True
        self.given_back = 0

    def give_back(self) -> None:
        self.given_back += self.held
        self.held = False

    async def take_again(self) -> None:
        self.held = True


class Bench:
    """A log with the records of one run, and who reads them."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.create(TOPICS.specs(["default"]))
        self.streams = Streams(self.log, TOPICS.run_results, Payloads(MemoryBlobs()))
        self.place = Place()
        self.work = NodeReady(
            run=RUN,
            key=RUN,
            root=RUN,
            graph="g",
            definition=GraphHash("h"),
            node=NodeKey("reads"),
            name=NodeName(NodeKey("reads")),
            attempt=2,
            arguments=(),
            generation=0,
            at_ms=0,
        )

    async def says(self, *records: Result, key: str = RUN) -> None:
        topic = TOPICS.run_results
        await self.log.append([Outgoing(topic, key.encode(), codec.results.encode(each)) for each in records])

    def read(self, source: Source = SOURCE) -> Any:
        """The chunks one by one."""
        return aclosing(self._each(source))

    async def _each(self, source: Source) -> AsyncIterator[Any]:
        async with aclosing(self.streams.chunks(self.work, source, self.place)) as batches:
            async for chunks in batches:
                for chunk in chunks:
                    yield chunk


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.streams.close()


async def test_chunks_are_read_as_they_come(bench: Bench) -> None:
    await bench.says(chunk(0))
    async with bench.read() as chunks:
        assert await anext(chunks) == "a0"
        for number in range(1, 4):
            await bench.says(chunk(number))
            assert await anext(chunks) == f"a{number}"
        await bench.says(told("succeeded", 9, incarnation=A, chunks=4))
        assert [each async for each in chunks] == []


async def test_what_feeds_a_map_takes_what_is_there_and_no_more_than_it_may(bench: Bench) -> None:
    async def fed(start: int, most: int = 64) -> tuple[list[Any], bool]:
        found, over = await bench.streams.next_chunks(bench.work, SOURCE, bench.place, start=start, most=most)
        return [each.value for each in found if isinstance(each, Inline)], over

    await bench.says(*(chunk(number) for number in range(5)))
    assert await fed(0, 2) == (["a0", "a1"], False)
    assert await fed(2, 2) == (["a2", "a3"], False)
    waiting = asyncio.ensure_future(fed(5))
    await bench.says(chunk(5), told("succeeded", 9, incarnation=A, chunks=6))
    assert (await waiting)[0] == ["a5"]
    assert await fed(4) == (["a4", "a5"], True)
    assert await fed(6) == ([], True)
    assert await fed(64) == ([], True), "a page behind the end gets nothing"
    another = Streams(bench.log, TOPICS.run_results, Payloads(MemoryBlobs()))
    try:
        found = await another.next_chunks(bench.work, SOURCE, bench.place, start=64, most=64)
        assert found == ([], True), "and hears so in a process that has read nothing of it"
    finally:
        await another.close()


async def test_what_feeds_a_map_hears_that_the_stream_is_void(bench: Bench) -> None:
    await bench.says(chunk(0), told("backoff", 9), told("ready", 10, attempt=2))
    with pytest.raises(StreamBroken):
        await bench.streams.next_chunks(bench.work, SOURCE, bench.place, start=1, most=63)


async def test_readers_that_are_slow_read_the_log_again_and_miss_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.streams._tails, "_buffered", 2)
    await bench.says(chunk(0))
    async with bench.read() as slow, bench.read() as slower:
        found = [[await anext(slow)], [await anext(slower)]]
        await bench.says(*(chunk(number) for number in range(1, 300)))
        await bench.says(chunk(300), told("succeeded", 9, incarnation=A, chunks=301))
        found[0] += [each async for each in slow]
        found[1] += [each async for each in slower]
    assert found[0] == found[1] == [f"a{number}" for number in range(301)]


async def test_who_comes_a_moment_late_is_served_from_what_the_tail_has_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = NodeKey("second")
    await bench.says(chunk(0))
    async with bench.read() as first:
        await anext(first)
        await bench.says(chunk(0, B, node=second), chunk(1, B, node=second), chunk(1))
        assert await anext(first) == "a1"
        reads: list[object] = []
        monkeypatch.setattr(bench.log, "read", lambda *given, **_: reads.append(given))
        async with bench.read(Source(second, B, 0, 1, counter=3)) as late:
            assert [await anext(late), await anext(late)] == ["b0", "b1"]
        assert not reads


async def test_who_waits_lets_another_have_its_slot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_IDLE_SECONDS", 0.01)
    await bench.says(chunk(0))
    async with bench.read() as chunks:
        await anext(chunks)
        assert bench.place.held
        waiting = asyncio.ensure_future(anext(chunks))
        async with asyncio.timeout(10):
            while bench.place.held:  # noqa: ASYNC110 - a timer of the stream's own gives it back
                await asyncio.sleep(0)
        await bench.says(chunk(1))
        assert await waiting == "a1"
        assert bench.place.held


async def test_a_slot_that_was_left_is_not_taken_again() -> None:
    places = asyncio.Semaphore(1)
    slot = Slot(places)
    async with slot:
        slot.give_back()
        await slot.take_again()
        assert places.locked()
        slot.give_back()
        async with Slot(places):
            waiting = asyncio.ensure_future(slot.take_again())
            await asyncio.sleep(0)
            slot.leave()
        await waiting
        assert not places.locked()
        await slot.take_again()
        assert not places.locked()
    assert not places.locked()


async def test_a_handler_that_reads_two_streams_takes_one_slot_again_and_leaves_it() -> None:
    places = asyncio.Semaphore(1)
    slot = Slot(places)
    async with asyncio.timeout(10), slot:
        slot.give_back()
        async with Slot(places):
            waiting = [asyncio.ensure_future(slot.take_again()) for _ in range(2)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert places.locked()
    assert not places.locked()


async def test_a_stream_whose_beginning_is_gone_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def beginning(_: str) -> dict[int, int]:
        return {0: 7}

    monkeypatch.setattr(bench.log, "beginning", beginning)
    await bench.says(chunk(9))
    async with bench.read() as chunks:
        with pytest.raises(NotFound, match="kept no longer"):
            await anext(chunks)
    assert await bench.streams.emitted(bench.work, SOURCE, B) == ([], None), "then it begins anew"


async def test_what_was_emitted_ends_where_the_log_shows_the_next_attempt(bench: Bench) -> None:
    source = Source(NODE, A, 0, 0, counter=3, resume=True)
    await bench.says(chunk(0), chunk(1), told("backoff", 6), told("ready", 7, attempt=2), chunk(2))
    reading = asyncio.ensure_future(bench.streams.emitted(bench.work, source, B))
    await asyncio.sleep(0)
    await bench.says(told("running", 8, attempt=2, incarnation=B))
    assert await reading == (["a0", "a1"], A)


@pytest.mark.parametrize(
    "status", [told("running", 8, attempt=2, incarnation=Incarnation("c")), told("ready", 8, attempt=3)]
)
async def test_only_who_holds_the_attempt_goes_on_with_its_stream(bench: Bench, status: Result) -> None:
    source = Source(NODE, A, 0, 0, counter=3, resume=True)
    await bench.says(chunk(0), told("backoff", 6), told("ready", 7, attempt=2), status)
    if isinstance(status, Progress) and status.nodes[0].attempt == 3:
        await bench.says(told("running", 9, attempt=3, incarnation=B))
    with pytest.raises(HeldElsewhere):
        await bench.streams.emitted(bench.work, source, B)


async def test_an_attempt_that_the_log_does_not_show_is_not_waited_for_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_TOLD_WITHIN_SECONDS", 0.01)
    await bench.says(chunk(0))
    with pytest.raises(TimedOut, match="reads/2"):
        await bench.streams.emitted(bench.work, SOURCE, B)


async def test_a_reader_hears_that_the_log_is_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> AsyncIterator[Any]:
        raise LogUnavailable("away")
        yield

    await bench.says(chunk(0))
    monkeypatch.setattr(bench.log, "read", fails)
    async with bench.read() as chunks:
        with pytest.raises(LogUnavailable):
            await anext(chunks)


async def _noting(stream: LiveStream, found: list[int]) -> AsyncIterator[int]:
    async for number in stream:
        found.append(number)
        yield number


async def test_each_iteration_is_typed_and_begins_at_the_first_chunk() -> None:
    async def read() -> AsyncIterator[Any]:
        yield ["1"]
        yield ["2", "x"]

    live = Live(read)  # type: ignore[arg-type]
    stream = live.typed(TypeAdapter(int), "'numbers' of reads")
    assert isinstance(stream, LiveStream)
    for _ in range(2):
        found: list[int] = []
        with pytest.raises(InvalidInput, match="chunk 2 of 'numbers' of reads does not fit"):
            [_ async for _ in _noting(stream, found)]
        assert found == [1, 2]
    assert [each async for each in ReadyStream([1, 2])] == [1, 2]


async def test_a_reading_that_its_handler_leaves_open_is_closed(bench: Bench) -> None:
    await bench.says(chunk(0), chunk(1))
    live = Live(lambda: bench.streams.chunks(bench.work, SOURCE, bench.place))
    async for _ in live.typed(TypeAdapter(str), "it"):
        break
    assert bench.streams._tails._tails[0].followers
    await live.close()
    assert not bench.streams._tails._tails[0].followers


async def test_a_broken_stream_raises_out_of_its_iteration(bench: Bench) -> None:
    await bench.says(chunk(0), chunk(0, B, 2), told("ready", 7, attempt=2))
    live = Live(lambda: bench.streams.chunks(bench.work, SOURCE, bench.place))
    with pytest.raises(StreamBroken, match="runs again"):
        await live.whole()


def test_the_buffer_of_a_reader_is_smaller_than_a_client_s() -> None:
    assert streams._BUFFERED < tails.BUFFERED
