"""A running bus whose broker is killed, and comes back with what it had."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from beluga_stream import BusMessage, kafka_bus
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import LogUnavailable
from tests.brokers import HarmableBroker


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - two buses and a broker have no one event
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.kafka
@pytest.mark.timeout(400)
async def test_a_bus_goes_on_where_it_was_when_its_broker_comes_back(
    own_broker: HarmableBroker, tmp_path: Path
) -> None:
    settings = Settings.load(broker=own_broker.address, blobs=str(tmp_path), session_timeout_seconds=6)
    everything: dict[str, list[int]] = defaultdict(list)
    shared: set[int] = set()
    sent: set[int] = set()
    stop = asyncio.Event()

    async def watch(message: BusMessage[int]) -> None:
        if message.data not in everything[message.key]:
            everything[message.key].append(message.data)

    async def work(message: BusMessage[int]) -> None:
        shared.add(message.data)

    async def double(message: BusMessage[int]) -> int:
        return 2 * message.data

    async with kafka_bus(settings=settings) as one, kafka_bus(settings=settings) as other:
        await one.subscribe("jobs.>", int, watch)
        for bus in (one, other):
            await bus.subscribe("jobs.*", int, work, group="workers")
        await other.subscribe("double", int, double, group="doubling")
        assert await one.request("double", 1, int) == 2

        async def publish() -> None:
            while not stop.is_set():
                number = len(sent)
                with suppress(LogUnavailable):  # a broker may take longer than a publisher waits
                    await one.publish("jobs.new", number, key=f"k{number % 5}")
                    sent.add(number)

        publishing = asyncio.create_task(publish())
        async with asyncio.timeout(60):
            await until(lambda: len(sent) >= 50)
        await asyncio.to_thread(own_broker.crash)
        reached = len(sent) + 50
        async with asyncio.timeout(180):
            await until(lambda: len(sent) >= reached)
            stop.set()
            await publishing
            await until(lambda: sent <= shared and sent <= {one for numbers in everything.values() for one in numbers})
        assert all(numbers == sorted(numbers) for numbers in everything.values())
        assert await one.request("double", 21, int, timeout=60) == 42
