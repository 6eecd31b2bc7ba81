"""Runs that others have started, found by the key that they were started with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from beluga_stream import Graph, Topic, blocking
from beluga_stream.api.client import Client
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import run_id
from beluga_stream.errors import InvalidInput
from tests.unit.desks import Desk, Mood, graph


def doubled(number: int) -> int:
    return number * 2


test = Graph[int, int]("test")
test.set_finish_point(test.add_node(doubled, test.input))


def of(runs: Runs) -> Client:
    @asynccontextmanager
    async def opener() -> AsyncIterator[Any]:
        yield runs

    return Client(opener)


async def test_a_run_is_known_by_the_key_that_it_was_started_with() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs, of(runs) as beluga:
        started = await beluga.start("test", 4, idempotency_key="order-7")
        known = beluga.run(test, idempotency_key="order-7")
        assert known.id == started.id
        assert await known.result(timeout=60) == 8


async def test_a_run_that_an_event_started_is_known_by_its_topic_too() -> None:
    async with Desk(graph(Mood())).client() as runs, of(runs) as beluga:
        known = beluga.run(test, idempotency_key="7", topic=Topic("orders", int))
        assert known.id == run_id("test", "orders", "7")


async def test_neither_id_nor_key_or_both_is_no_run() -> None:
    async with Desk(graph(Mood())).client() as runs, of(runs) as beluga:
        run = cast("Any", beluga.run)
        with pytest.raises(InvalidInput, match="give one"):
            run(test)
        with pytest.raises(InvalidInput, match="give one"):
            run(test, "0" * 32, idempotency_key="order-7")


def test_the_blocking_client_knows_it_by_the_key_too() -> None:
    @asynccontextmanager
    async def opener() -> AsyncIterator[Any]:
        yield object()

    with blocking.Client(Client(opener)) as beluga:
        assert beluga.run(test, idempotency_key="order-7").id == run_id("test", "api", "order-7")
