"""The bus in this process: queues with a bound, in virtual time and in many orders of the event loop."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from beluga_stream import BusMessage, Features, MessageBus, Orchestrator, Retry, local_bus
from beluga_stream.adapters.memory.bus import MemoryCarrier, MemoryLine
from beluga_stream.adapters.otel.traces import OtelTraces
from beluga_stream.domain.subjects import pattern
from beluga_stream.errors import (
    BelugaError,
    InvalidConfig,
    InvalidState,
    LogUnavailable,
    ResourceExhausted,
    TopicMissing,
)
from beluga_stream.ports.bus import Delivery
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
            full = r"group 'g' of a, which nobody serves now, .*or `forget` it"
            with pytest.raises(ResourceExhausted, match=full):
                await bus.publish("a", 4, timeout=1)
            publishing = asyncio.create_task(bus.publish("a", 4, timeout=60))
            await asyncio.sleep(1)
            await bus.forget("a", group="g")
            await publishing

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


def test_a_handler_may_close_its_subscription_and_its_bus_and_its_message_is_done() -> None:
    async def main() -> None:
        said: list[str] = []

        async def leaves(message: BusMessage[int]) -> None:
            await subscription.close()
            await asyncio.sleep(1)
            said.append(f"left {message.data}")

        async def ends(message: BusMessage[int]) -> None:
            await bus.aclose()
            await asyncio.sleep(1)
            said.append(f"ended {message.data}")

        bus = local_bus()
        subscription = await bus.subscribe("a", int, leaves, group="g")
        await bus.subscribe("b", int, ends)
        await bus.publish("a", 1)
        await asyncio.sleep(3)
        # Nobody holds the group's messages any more: they wait for its next member.
        again: list[int] = []

        async def takes(message: BusMessage[int]) -> None:
            again.append(message.data)

        await bus.publish("a", 2)
        await bus.subscribe("a", int, takes, group="g")
        await bus.publish("b", 3)
        await bus.aclose()
        assert said == ["left 1", "ended 3"]
        assert again == [2]
        with pytest.raises(InvalidState, match="closed"):
            await bus.publish("a", 4)

    virtually(main)


def test_closing_comes_to_its_end_though_who_closes_is_cancelled() -> None:
    async def main() -> None:
        taken: list[int] = []

        async def hangs(message: BusMessage[int]) -> None:
            await asyncio.Event().wait()

        async def takes(message: BusMessage[int]) -> None:
            taken.append(message.data)

        async with local_bus() as bus:
            subscription = await bus.subscribe("a", int, hangs, group="g")
            await bus.publish("a", 1)
            await asyncio.sleep(1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await subscription.close()
            await bus.subscribe("a", int, takes, group="g")
            await asyncio.sleep(10)
            assert taken == [1]

    virtually(main)


def test_what_a_handler_sends_while_its_bus_closes_goes_out_and_what_fails_then_is_no_dead_letter() -> None:
    async def main() -> None:
        got: list[int] = []

        async def passes_on(message: BusMessage[int]) -> None:
            await asyncio.sleep(1)
            await bus.publish("b", message.data)

        async def takes(message: BusMessage[int]) -> None:
            got.append(message.data)

        async def asks(message: BusMessage[int]) -> None:
            await bus.request("nobody", 1, int)

        async with local_bus() as bus:
            await bus.subscribe("a", int, passes_on)
            await bus.subscribe("b", int, takes, group="g")
            await bus.subscribe("c", int, asks)
            await bus.publish("a", 1)
            await bus.publish("c", 1)
            await asyncio.sleep(0.5)
            letters = bus._carrier.letters
        assert await letters() == []

    virtually(main)


def test_publishers_and_requests_that_wait_for_room_are_told_that_the_bus_is_closed() -> None:
    async def main() -> None:
        bus = local_bus(queue_size=1)
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        subscription = await bus.subscribe("a", int, lambda _: None, group="g")
        await subscription.close()
        await bus.publish("a", 1)
        waiting = [
            asyncio.create_task(bus.publish("a", 2, timeout=60)),
            asyncio.create_task(bus.request("a", 3, int, timeout=60)),
        ]
        await asyncio.sleep(1)
        began = loop.time()
        await bus.aclose()
        for each in waiting:
            with pytest.raises(InvalidState, match="closed"):
                await each
        assert loop.time() - began < 10
        del waiting, each
        gc.collect()
        assert told == []

    virtually(main)


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="queue_size=0"):
        local_bus(queue_size=0)


class _Stumbling(MemoryCarrier):
    """Raises what nobody expects, a few times each."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 3

    async def attach(self, *given: Any) -> MemoryLine:
        line = await super().attach(*given)
        take, left = line.take, [3]

        async def stumbles() -> Delivery:
            left[0] -= 1
            if left[0] >= 0:
                raise RuntimeError("taken by surprise")
            return await take()

        line.take = stumbles  # type: ignore[method-assign]
        return line

    async def refuse(self, delivery: Delivery, error: BelugaError, subscriber: str) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise TopicMissing("the dead letters have no topic")
        await super().refuse(delivery, error, subscriber)


def test_a_carrier_that_stumbles_makes_no_subscriber_deaf_and_loses_no_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async def fails(message: BusMessage[int]) -> None:
            raise TypeError("no")

        async with MessageBus(_Stumbling(), OtelTraces()) as bus:
            await bus.subscribe("a", int, fails, group="g")
            await bus.publish("a", 1)
            await asyncio.sleep(20)
            assert [letter.parcel.body for letter in await bus.dead_letters()] == [b"1"]

    virtually(main, seeds=3)
    assert "g@a gets no messages for now: taken by surprise" in caplog.text
    assert "a dead letter of g@a cannot be kept yet: the dead letters have no topic" in caplog.text


class _Losing(MemoryCarrier):
    """Hands out more than is handled, and is told when the line is to lose it."""

    async def attach(self, *given: Any) -> MemoryLine:
        *_, self.release = given
        line = await super().attach(*given)
        line.ahead = 2
        return line


def test_what_a_handler_raises_because_it_is_cancelled_is_no_dead_letter() -> None:
    async def main() -> None:
        carrier, told = _Losing(), list[int]()

        async def cleans_up(message: BusMessage[int]) -> None:
            told.append(message.data)
            try:
                await asyncio.Event().wait()
            finally:
                raise OSError("away, too")

        async with MessageBus(carrier, OtelTraces()) as bus:
            await bus.subscribe("a", int, cleans_up, group="g", concurrency=2, retry=Retry(1))
            for number in range(4):
                await bus.publish("a", number, key=str(number))
            await asyncio.sleep(1)
            await carrier.release({1}, 0)
            assert len(told) == 2
            await carrier.release({0}, 3)
            assert len(told) == 2
            assert await bus.dead_letters() == []

    virtually(main)


def test_what_waits_for_its_turn_when_its_line_loses_it_does_not_begin() -> None:
    async def main() -> None:
        carrier, began, ended = _Losing(), list[int](), list[int]()

        async def works(message: BusMessage[int]) -> None:
            began.append(message.data)
            await asyncio.sleep(2)
            ended.append(message.data)

        async with MessageBus(carrier, OtelTraces()) as bus:
            await bus.subscribe("a", int, works, group="g", concurrency=2)
            for number in range(4):
                await bus.publish("a", number, key=str(number))
            await asyncio.sleep(1)
            await carrier.release({0}, 3)
            assert sorted(ended) == sorted(began)
            assert len(began) == 2

    virtually(main)


class _Away(MemoryCarrier):
    """Does not connect, and once it is there does not answer."""

    is_away = True

    async def start(self) -> None:
        if self.is_away:
            await asyncio.Event().wait()

    async def check(self) -> None:
        await asyncio.Event().wait()


def test_whoever_publishes_or_checks_waits_for_the_broker_no_longer_than_said() -> None:
    async def main() -> None:
        loop, carrier = asyncio.get_running_loop(), _Away(queue_size=1)

        async def raises(call: Coroutine[Any, Any, object], kind: type[BelugaError], told: str) -> float:
            began = loop.time()
            with pytest.raises(kind, match=told):
                await call
            return round(loop.time() - began, 6)

        bus = MessageBus(carrier, OtelTraces())
        told = "the message bus could not reach this process within"
        first = asyncio.create_task(raises(bus.publish("a", 1, timeout=60), LogUnavailable, f"{told} 60 s"))
        await asyncio.sleep(0)
        assert await raises(bus.publish("a", 1, timeout=2), LogUnavailable, f"{told} 2 s") == 2
        silent = "this process has not answered the message bus within 5 s"
        assert await raises(bus.check(), LogUnavailable, silent) == 5
        assert await raises(bus.dead_letters(), LogUnavailable, f"{told} 30 s") == 30
        assert await first == 60
        carrier.is_away = False
        await bus.subscribe("a", int, lambda _: None, group="g")
        assert await raises(bus.check(), LogUnavailable, silent) == 5
        await bus.aclose()

    virtually(main, seeds=3)


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
