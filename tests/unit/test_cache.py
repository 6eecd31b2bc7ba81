"""Results that are kept for a while, on chains and graphs that run here."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import (
    Cache,
    Graph,
    InProcessStore,
    Orchestrator,
    Retry,
    SQLiteStore,
    Stream,
    chain,
    node,
    resource,
)
from beluga_stream.errors import InvalidConfig, InvalidGraph, RunFailed, StoreUnavailable

_MADE: list[Any] = []
"""What `doubled` was called with, since `Calls` of late."""


async def doubled(number: int) -> int:
    _MADE.append(number)
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError("below zero")
    return number * 2


class Calls:
    """A handler that is kept so, and what it is called with."""

    def __init__(self, cache: Cache) -> None:
        _MADE.clear()
        self.made = _MADE
        self.handler = node(cache=cache, retry=Retry(1))(doubled)


async def test_a_result_is_given_again_while_it_is_kept() -> None:
    now = [0.0]
    cache = Cache(60, store=InProcessStore(clock=lambda: now[0]))
    calls = Calls(cache)
    work = chain(calls.handler, name="work")
    assert [await work.invoke(number) for number in (2, 2, 3, 2)] == [4, 4, 6, 4]
    assert calls.made == [2, 3]
    assert (cache.hits, cache.misses) == (2, 2)
    now[0] = 60.0
    assert await work.invoke(2) == 4
    assert calls.made == [2, 3, 2]


async def test_one_of_many_at_once_computes() -> None:
    cache = Cache(60)
    calls = Calls(cache)
    graph = Graph[list[int], list[int]]("many")
    graph.set_finish_point(graph.add_map(calls.handler, graph.input))
    assert await graph.invoke([5] * 20 + [6]) == [10] * 20 + [12]
    assert sorted(calls.made) == [5, 6]
    assert await chain(calls.handler, name="many-chain").batch([7] * 5) == [14] * 5
    assert calls.made.count(7) == 1
    assert not cache._tally.flights


async def test_a_failure_is_not_kept() -> None:
    calls = Calls(Cache(60))
    work = chain(calls.handler, name="work")
    for _ in range(2):
        with pytest.raises(RunFailed, match="below zero"):
            await work.invoke(-1)
    assert calls.made == [-1, -1]
    results = await asyncio.gather(*(work.invoke(-2) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [RunFailed] * 3


async def test_those_that_waited_for_one_that_failed_go_on_side_by_side() -> None:
    """Each is there to see the others: one after the other they would never be."""
    cache = Cache(60, name="away")
    many, made = asyncio.Barrier(9), list[int]()

    @node(cache=cache, retry=Retry(1))
    async def away(number: int) -> int:
        made.append(number)
        if len(made) == 1:
            while next(iter(cache._tally.flights.values())).takers < 10:  # noqa: ASYNC110 - the others wait
                await asyncio.sleep(0)
            raise ConnectionError("away")
        await many.wait()
        if number < 0:
            raise ConnectionError("still away")
        return number

    work = chain(away, name="work")
    async with asyncio.timeout(30):
        found = await asyncio.gather(*(work.invoke(-1) for _ in range(10)), return_exceptions=True)
    assert [type(one) for one in found] == [RunFailed] * 10
    assert not cache._tally.flights
    made.clear()
    async with asyncio.timeout(30):
        found = await asyncio.gather(*(work.invoke(1) for _ in range(10)), return_exceptions=True)
    assert sorted(map(str, found))[:9] == ["1"] * 9
    assert await work.invoke(1) == 1
    assert len(made) == 10, "what they computed is kept"


async def test_one_of_those_that_waited_goes_on_when_the_first_is_cancelled() -> None:
    cache, begun, made = Cache(60, name="work"), asyncio.Event(), list[int]()

    @node(cache=cache)
    async def work(number: int) -> int:
        made.append(number)
        begun.set()
        if len(made) == 1:
            await asyncio.Event().wait()
        return number

    tasks = [asyncio.create_task(chain(work, name="work").invoke(1)) for _ in range(5)]
    async with asyncio.timeout(30):
        await begun.wait()
        while next(iter(cache._tally.flights.values())).takers < 5:  # noqa: ASYNC110 - the others wait
            await asyncio.sleep(0)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [1] * 4
    assert made == [1, 1]


async def test_versions_and_nodes_have_results_of_their_own_unless_they_share_a_name() -> None:
    store = InProcessStore()

    async def made_by(cache: Cache, name: str) -> int:
        calls = Calls(cache)
        await chain(calls.handler, name=name).invoke(1)
        return len(calls.made)

    assert await made_by(Cache(60, store=store), "work") == 1
    assert await made_by(Cache(60, store=store), "work") == 0
    assert await made_by(Cache(60, store=store, version="2"), "work") == 1
    assert await made_by(Cache(60, store=store), "other") == 1
    assert await made_by(Cache(60, store=store, name="doubled"), "work") == 1
    assert await made_by(Cache(60, store=store, name="doubled"), "other") == 0


async def test_results_outlive_the_process_in_sqlite(tmp_path: Path) -> None:
    for made in ([4], []):
        calls = Calls(Cache(timedelta(hours=1), store=SQLiteStore(tmp_path / "results.db")))
        assert await chain(calls.handler, name="work").invoke(4) == 8
        assert calls.made == made


async def test_a_store_of_a_resource_is_opened_by_the_engine() -> None:
    class Own(InProcessStore): ...

    kept = Own()

    @resource
    async def store() -> AsyncIterator[Own]:
        yield kept

    calls = Calls(Cache(60, store=Own))
    assert [await chain(calls.handler, name="work").invoke(4) for _ in range(2)] == [8, 8]
    assert calls.made == [4]


async def test_conditions_after_a_node_are_asked_again() -> None:
    calls = Calls(Cache(60))

    async def small(number: int) -> str:
        return "small"

    async def large(number: int) -> str:
        return "large"

    graph = Graph[int, str]("branches")
    doubled = graph.add_node(calls.handler, graph.input)
    graph.set_finish_point(
        graph.first(
            graph.add_node(large, doubled.when(lambda number: number > 10)), graph.add_node(small, doubled.otherwise())
        )
    )
    assert [await graph.invoke(number) for number in (1, 9, 1, 9)] == ["small", "large", "small", "large"]
    assert calls.made == [1, 9]


async def test_sync_handlers_in_a_row_are_kept_too() -> None:
    made: list[str] = []

    @node(cache=Cache(60))
    def upper(text: str) -> str:
        made.append(text)
        return text.upper()

    def strip(text: str) -> str:
        return text.strip()

    async with Orchestrator() as orch:
        work = orch.create_chain(strip, upper)
        assert [await work.invoke(text) for text in (" a", "a ", "b")] == ["A", "A", "B"]
    assert made == ["a", "b"]


async def test_add_node_takes_a_cache_and_a_fake_is_never_kept() -> None:
    async def real(number: int) -> int:
        return number

    async def fake(number: int) -> int:
        return -number

    graph = Graph[int, int]("g")
    graph.set_finish_point(graph.add_node(real, graph.input, cache=Cache(60)))
    assert await graph.invoke(1, fakes={real: fake}) == -1
    assert await graph.invoke(1) == 1
    assert await graph.invoke(1, fakes={real: fake}) == -1


class _Full(InProcessStore):
    kept = 0

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        self.kept += 1
        raise StoreUnavailable("the store does not answer")


class _Away(_Full):
    async def fetch(self, key: str, /) -> bytes | None:
        raise StoreUnavailable("the store does not answer")


@pytest.mark.parametrize(("store", "told", "kept"), [(_Away(), "looked up or kept", 0), (_Full(), "kept", 2)])
async def test_without_its_store_everything_is_computed(
    caplog: pytest.LogCaptureFixture, store: _Full, told: str, kept: int
) -> None:
    cache = Cache(60, store=store)
    calls = Calls(cache)
    with caplog.at_level(logging.WARNING):
        assert [await chain(calls.handler, name="work").invoke(4) for _ in range(2)] == [8, 8]
    assert (calls.made, cache.misses) == ([4, 4], 2)
    assert f"no result can be {told}: the store does not answer" in caplog.text
    assert store.kept == kept, "what does not answer is waited for once"


class _Hung(InProcessStore):
    """It answers nothing, like a Redis whose machine is gone."""

    asked = 0

    async def fetch(self, key: str, /) -> bytes | None:
        self.asked += 1
        await asyncio.Event().wait()
        return None


class _HungAtKeeping(InProcessStore):
    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        await asyncio.Event().wait()


async def test_a_store_that_hangs_costs_its_timeout_once_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store = _Hung()
    cache = Cache(60, store=store, timeout=0.01)
    calls = Calls(cache)
    graph = Graph[list[int], list[int]]("many")
    graph.set_finish_point(graph.add_map(calls.handler, graph.input))
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(30):
            assert await graph.invoke([5] * 20 + [6]) == [10] * 20 + [12]
            assert await chain(calls.handler, name="later").invoke(7) == 14
    assert store.asked <= 2, "each of the two keys once, then nobody asks for a while"
    assert cache.silences == store.asked
    assert (cache.hits, cache.misses) == (0, 22)
    assert caplog.text.count("was silent for 0.01 s") == 1


async def test_a_store_that_hangs_when_it_is_to_keep_costs_its_timeout() -> None:
    cache = Cache(60, store=_HungAtKeeping(), timeout=timedelta(milliseconds=10))
    calls = Calls(cache)
    async with asyncio.timeout(30):
        assert [await chain(calls.handler, name="work").invoke(4) for _ in range(2)] == [8, 8]
    assert (cache.silences, cache.misses) == (1, 2)


async def test_a_silent_store_is_asked_again_later() -> None:
    store = _Hung()
    cache = Cache(60, store=store, timeout=0.01)
    calls = Calls(cache)
    assert await chain(calls.handler, name="work").invoke(4) == 8
    cache._tally.quiet_until = 0.0
    assert await chain(calls.handler, name="work").invoke(4) == 8
    assert store.asked == 2


async def test_what_is_too_large_or_does_not_fit_any_more_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    store, made = InProcessStore(), []

    @node(cache=Cache(60, store=store, name="shared"))
    async def text(size: int) -> str:
        made.append(size)
        return "x" * size

    @node(cache=Cache(60, store=store, name="shared"))
    async def number(size: int) -> int:
        made.append(size)
        return size

    work = chain(text, name="text")
    assert [len(await work.invoke(2_000_000)) for _ in range(2)] == [2_000_000] * 2
    assert made == [2_000_000] * 2
    assert [await work.invoke(3), await chain(number, name="number").invoke(3)] == ["xxx", 3]
    assert "does not fit its type any more" in caplog.text


async def test_a_number_above_64_bits_is_neither_rounded_nor_kept(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls(Cache(60))
    work = chain(calls.handler, name="work")
    for _ in range(2):
        with pytest.raises(RunFailed, match="Integer exceeds 64-bit range"):
            await work.invoke(2**63)
    assert calls.made == [2**63] * 2
    assert "is not kept" in caplog.text


def test_what_cannot_be_kept_is_refused() -> None:
    async def streams(number: int) -> AsyncIterator[int]:
        yield number

    async def reads(numbers: Stream[int]) -> int:
        return 1

    graph = Graph[int, list[int]]("streams")
    graph.set_finish_point(graph.add_node(streams, graph.input, cache=Cache(60)))
    with pytest.raises(InvalidGraph, match=r"node 'streams': cache= is for handlers that .* this one streams"):
        graph.compile()
    graph = Graph[int, Any]("reads")
    graph.set_finish_point(graph.add_node(reads, graph.add_node(streams, graph.input).stream, cache=Cache(60)))
    with pytest.raises(InvalidGraph, match="this one reads a stream"):
        graph.compile()
    for ttl in (0, -1, timedelta(days=400)):
        with pytest.raises(InvalidConfig, match="more than 0 seconds and at most a year"):
            Cache(ttl)
    for timeout in (0, -1, 61):
        with pytest.raises(InvalidConfig, match="more than 0 seconds and at most a minute"):
            Cache(60, timeout=timeout)
