"""The bus in this process: queues with a bound, in virtual time and in many orders of the event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from beluga_stream import BusMessage, Features, Orchestrator, Retry, local_bus
from beluga_stream.domain.subjects import pattern
from beluga_stream.errors import InvalidConfig, InvalidState, ResourceExhausted
from beluga_stream.testing.virtual_time import VirtualLoop


def virtually(main: Callable[[], Coroutine[Any, Any, None]], seeds: int = 25) -> None:
    for seed in range(seeds):
        with asyncio.Runner(loop_factory=lambda seed=seed: VirtualLoop(seed)) as runner:  # type: ignore[misc]
            runner.run(main())


@pytest.mark.parametrize(
    ("wanted", "subject", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*.c", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.b.c.d", True),
        (">", "a.b", True),
        ("*", "a", True),
        ("*.b.>", "a.b.c", True),
        (">", "_inbox.x", False),
        ("*.x", "_inbox.x", False),
        ("_inbox.x", "_inbox.x", True),
    ],
)
def test_a_pattern_matches_by_words(wanted: str, subject: str, matches: bool) -> None:  # noqa: FBT001 - a column
    assert pattern(wanted).matches(subject) is matches


def test_a_full_queue_holds_its_publishers_up_and_refuses_in_the_end_for_all() -> None:
    async def main() -> None:
        go = asyncio.Event()
        slow: list[int] = []
        quick: list[int] = []

        async def waits(message: BusMessage[int]) -> None:
            await go.wait()
            slow.append(message.data)

        async def takes(message: BusMessage[int]) -> None:
            quick.append(message.data)

        async with local_bus(queue_size=2) as bus:
            await bus.subscribe("a.*", int, waits)
            await bus.subscribe("a.>", int, takes)
            await bus.publish("a.b", 0)
            await bus.publish("a.b", 1)
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(ResourceExhausted, match=r"a subscriber of a\.\* has had no room for 3 s"):
                await bus.publish("a.b", 2, timeout=3)
            assert round(loop.time() - began, 6) == 3
            await bus.publish("other", 1, timeout=1)
            publishing = asyncio.create_task(bus.publish("a.b", 3, timeout=60))
            await asyncio.sleep(1)
            assert not publishing.done()
            go.set()
            await publishing
            await asyncio.sleep(1)
        assert slow == quick == [0, 1, 3]

    virtually(main)


def test_a_subscriber_that_leaves_lets_publishers_go_on() -> None:
    async def main() -> None:
        async def hangs(message: BusMessage[int]) -> None:
            await asyncio.Event().wait()

        async with local_bus(queue_size=1) as bus:
            subscription = await bus.subscribe("a", int, hangs)
            await bus.publish("a", 1)
            publishing = asyncio.create_task(bus.publish("a", 2, timeout=60))
            await asyncio.sleep(1)
            await subscription.close(grace=0)
            await publishing
            group = await bus.subscribe("a", int, hangs, group="g")
            await bus.publish("a", 3)
            await group.close(grace=0)
            with pytest.raises(ResourceExhausted, match="group 'g' of a, which nobody serves now, has had no room"):
                await bus.publish("a", 4, timeout=1)

    virtually(main)


def test_the_members_of_a_group_share_and_keep_the_order_of_a_key() -> None:
    async def main() -> None:
        handled: list[tuple[str, int]] = []
        busy = {"one": 0, "two": 0}

        def member(name: str) -> Callable[[BusMessage[int]], Coroutine[Any, Any, None]]:
            async def handle(message: BusMessage[int]) -> None:
                await asyncio.sleep(1)
                busy[name] += 1
                handled.append((message.key, message.data))

            return handle

        async with local_bus() as bus:
            for name in busy:
                await bus.subscribe("a", int, member(name), group="g", concurrency=2)
            for number in range(24):
                await bus.publish("a", number, key=f"k{number % 6}")
            loop = asyncio.get_running_loop()
            began = loop.time()
            while len(handled) < 24:  # noqa: ASYNC110 - until all are
                await asyncio.sleep(0.1)
            assert loop.time() - began < 8, "four at a time"
        assert min(busy.values()) > 0
        for key in range(6):
            assert [data for name, data in handled if name == f"k{key}"] == list(range(key, 24, 6))

    virtually(main)


def test_retries_wait_longer_each_time_and_hold_up_their_key_only() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        at: list[float] = []
        others: list[int] = []

        async def handle(message: BusMessage[int]) -> None:
            if message.key == "bad":
                at.append(loop.time())
                raise OSError("away")
            others.append(message.data)

        async with local_bus() as bus:
            await bus.subscribe("a", int, handle, retry=Retry(3, first=10, most=60))
            await bus.publish("a", 1, key="bad")
            await bus.publish("a", 2, key="good")
            await asyncio.sleep(1)
            assert (len(at), others) == (1, [2])
            await asyncio.sleep(60)
            (letter,) = await bus.dead_letters()
            assert letter.parcel.key == "bad"
        assert 5 <= at[1] - at[0] <= 10 <= at[2] - at[1] <= 20

    virtually(main)


async def test_an_orchestrator_has_a_bus_and_closes_it() -> None:
    orch = Orchestrator()
    bus = orch.message_bus
    assert orch.message_bus is bus
    await bus.subscribe("double", int, lambda message: 2 * message.data)
    assert await bus.request("double", 2, int) == 4
    await orch.check()
    await orch.aclose()
    with pytest.raises(InvalidState, match="closed"):
        await bus.publish("double", 1)
    with pytest.raises(InvalidState):
        _ = orch.message_bus
    async with Orchestrator(features=Features(message_bus=False)) as off:
        with pytest.raises(InvalidState, match="message_bus is switched off"):
            _ = off.message_bus
    with pytest.raises(InvalidConfig, match="bus='nats'"):
        Orchestrator(bus="nats")  # type: ignore[arg-type]
