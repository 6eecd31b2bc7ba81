"""What a message bus promises: the same tests in this process and over Kafka."""

import asyncio
import random
import re
import sys
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel, SecretStr

from beluga_stream import BusMessage, MessageBus, Retry, chain, kafka_bus, local_bus
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import (
    ExecutionFailed,
    InvalidConfig,
    InvalidInput,
    InvalidState,
    NotFound,
    NotSerializable,
    RecordTooLarge,
    TaskCanceled,
    TimedOut,
)

QUICK = Retry(3, first=0.01, most=0.02)


class Order(BaseModel):
    id: int
    item: str = "tea"


class Login(BaseModel):
    user: str
    password: SecretStr


class Inbox:
    """What a subscriber got."""

    def __init__(self) -> None:
        self.messages: list[BusMessage[Any]] = []
        self._came = asyncio.Event()

    async def __call__(self, message: BusMessage[Any]) -> None:
        self.messages.append(message)
        self._came.set()

    async def wait(self, count: int) -> list[Any]:
        """The data of the first so many."""
        async with asyncio.timeout(60):
            while len(self.messages) < count:
                self._came.clear()
                await self._came.wait()
        return [message.data for message in self.messages]


@pytest.fixture(params=["local", pytest.param("kafka", marks=pytest.mark.kafka)])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MessageBus]:
    if request.param == "local":
        async with local_bus() as opened:
            yield opened
        return
    prefix, broker = f"t-{uuid.uuid4().hex[:10]}", request.getfixturevalue("broker")
    settings = Settings.load(broker=broker, prefix=prefix, blobs=str(tmp_path), session_timeout_seconds=6)
    async with kafka_bus(settings=settings) as opened:
        yield opened
    async with KafkaTopics(KafkaConnection.parse(broker)) as topics:
        await topics.delete([f"{prefix}.bus", f"{prefix}.dead-letters"])


async def test_every_subscriber_without_a_group_gets_every_message(bus: MessageBus) -> None:
    inboxes = [Inbox() for _ in range(3)]
    for inbox in inboxes:
        await bus.subscribe("orders.>", Order, inbox)
    for number in range(20):
        await bus.publish("orders.created", Order(id=number))
    for inbox in inboxes:
        assert await inbox.wait(20) == [Order(id=number) for number in range(20)]


async def test_a_group_shares_its_messages_and_every_group_gets_all(bus: MessageBus) -> None:
    members, other = [Inbox(), Inbox()], Inbox()
    for member in members:
        await bus.subscribe("orders.*", int, member, group="billing")
    await bus.subscribe("orders.*", int, other, group="audit")
    for number in range(200):
        await bus.publish("orders.created", number, key=f"customer-{number % 40}")
    assert sorted(await other.wait(200)) == list(range(200))
    async with asyncio.timeout(60):
        while sum(len(member.messages) for member in members) < 200:  # noqa: ASYNC110 - two inboxes have no one event
            await asyncio.sleep(0.01)
    assert all(member.messages for member in members)
    assert sorted(message.data for member in members for message in member.messages) == list(range(200))


async def test_a_key_with_many_messages_starves_no_other(bus: MessageBus) -> None:
    go, cold, all_of_them = asyncio.Event(), asyncio.Event(), asyncio.Event()
    hot: list[int] = []

    async def handle(message: BusMessage[int]) -> None:
        if message.data < 0:
            cold.set()
            return
        await go.wait()
        hot.append(message.data)
        if len(hot) == 60:
            all_of_them.set()

    await bus.subscribe("jobs", int, handle, group="workers", concurrency=2)
    for number in range(60):
        await bus.publish("jobs", number, key="hot")
    await bus.publish("jobs", -1, key="cold")
    async with asyncio.timeout(60):
        await cold.wait()
        assert hot == [], "none of them is over yet"
        go.set()
        await all_of_them.wait()
    assert hot == list(range(60))


async def test_messages_of_one_key_are_handled_in_order_and_one_at_a_time(bus: MessageBus) -> None:
    handled: dict[str, list[int]] = defaultdict(list)
    at: set[str] = set()
    done = asyncio.Event()

    async def handle(message: BusMessage[int]) -> None:
        assert message.key not in at, "two messages of a key at a time"
        at.add(message.key)
        await asyncio.sleep(random.random() / 500)
        at.discard(message.key)
        if message.data % 7 == 0 and message.attempt == 1:
            raise OSError("once more")
        handled[message.key].append(message.data)
        if sum(map(len, handled.values())) == 100:
            done.set()

    for _ in range(2):
        await bus.subscribe("n.>", int, handle, group="g", retry=QUICK)
    for number in range(100):
        await bus.publish("n.x", number, key=f"k{number % 5}")
    async with asyncio.timeout(60):
        await done.wait()
    assert dict(handled) == {f"k{key}": list(range(key, 100, 5)) for key in range(5)}
    assert await bus.dead_letters() == []


async def test_patterns_choose_by_words(bus: MessageBus) -> None:
    wanted = {"a.b": ["a.b"], "a.*": ["a.b", "a.c"], "a.>": ["a.b", "a.b.c", "a.c"], "*.b": ["a.b", "x.b"]}
    inboxes = {pattern: Inbox() for pattern in [*wanted, ">"]}
    for pattern, inbox in inboxes.items():
        await bus.subscribe(pattern, str, inbox)
    sent = ["a", "a.b", "a.b.c", "a.c", "x.b", "last"]
    for subject in sent:
        await bus.publish(subject, subject, key="one")
    assert await inboxes[">"].wait(len(sent)) == sent
    for pattern, subjects in wanted.items():
        assert await inboxes[pattern].wait(len(subjects)) == subjects


async def test_a_request_gets_the_reply_of_its_handler(bus: MessageBus) -> None:
    async def price(message: BusMessage[Order]) -> Order:
        assert message.wants_reply
        return Order(id=message.data.id, item=message.data.item.upper())

    def blocks(message: BusMessage[int]) -> int:
        return 2 * message.data

    await bus.subscribe("price", Order, price, group="pricing")
    await bus.subscribe("double", int, blocks)
    asked = [bus.request("price", Order(id=number), Order) for number in range(10)]
    assert await asyncio.gather(*asked) == [Order(id=number, item="TEA") for number in range(10)]
    assert await bus.request("double", 4, int) == 8


async def test_a_request_that_nobody_answers_times_out(bus: MessageBus) -> None:
    with pytest.raises(TimedOut, match=r"nobody answered a request to nowhere within 0\.5 s"):
        await bus.request("nowhere", 1, int, timeout=0.5)


async def test_a_request_whose_handler_fails_says_so_and_one_of_another_type_too(bus: MessageBus) -> None:
    async def fails(message: BusMessage[int]) -> int:
        raise OSError("away")

    await bus.subscribe("fails", int, fails, retry=Retry(1))
    await bus.subscribe("text", int, lambda message: "text")
    await bus.subscribe("object", int, lambda message: object())
    with pytest.raises(ExecutionFailed, match=r"the subscriber of fails failed: .*OSError: away \(execution_failed\)"):
        await bus.request("fails", 1, int)
    with pytest.raises(InvalidInput, match="the reply of text fails its type"):
        await bus.request("text", 1, int)
    with pytest.raises(ExecutionFailed, match="cannot become JSON"):
        await bus.request("object", 1, int)


async def test_a_message_whose_handler_raises_comes_again_and_then_is_a_dead_letter(bus: MessageBus) -> None:
    attempts: list[int] = []

    async def fails(message: BusMessage[int]) -> None:
        attempts.append(message.attempt)
        raise OSError("away")

    inbox = Inbox()
    failing = await bus.subscribe("jobs", int, fails, group="workers", retry=QUICK)
    await bus.subscribe("jobs", int, inbox)
    await bus.publish("jobs", 7, headers={"tenant": "a"})
    assert await inbox.wait(1) == [7]
    letters = await _letters(bus, 1)
    assert attempts == [1, 2, 3]
    assert (letters[0].subject, letters[0].subscriber, letters[0].reason) == (
        "jobs",
        failing.name,
        "execution_failed",
    )
    assert "the handler raised OSError, 3 times: away" in letters[0].message
    assert (letters[0].parcel.body, letters[0].parcel.headers["tenant"]) == (b"7", "a")


async def test_a_dead_letter_can_be_sent_again_to_the_one_that_could_not_take_it(bus: MessageBus) -> None:
    broken, other = True, Inbox()
    mended = Inbox()

    async def fails(message: BusMessage[int]) -> None:
        if broken:
            raise OSError("away")
        await mended(message)

    await bus.subscribe("jobs", int, fails, group="workers", retry=Retry(1))
    await bus.subscribe("jobs", int, other)
    await bus.publish("jobs", 7)
    letter = (await _letters(bus, 1))[0]
    broken = False
    await bus.replay(letter)
    assert await mended.wait(1) == [7]
    await bus.publish("jobs", 8)
    assert await other.wait(2) == [7, 8]
    assert mended.messages[0].id == letter.parcel.id


async def test_a_dead_letter_of_one_that_is_gone_is_not_sent_again_and_stays_listed(bus: MessageBus) -> None:
    async def fails(message: BusMessage[int]) -> None:
        raise TypeError("no")

    subscription = await bus.subscribe("jobs", int, fails)
    await bus.publish("jobs", 7)
    letters = await _letters(bus, 1)
    await subscription.close()
    with pytest.raises(NotFound, match=rf"{re.escape(subscription.name)}, which could not take .* is gone"):
        await bus.replay(letters[0])
    assert await bus.dead_letters() == letters


async def test_a_dead_letter_waits_for_a_group_that_is_away_and_not_for_one_that_is_forgotten(bus: MessageBus) -> None:
    async def fails(message: BusMessage[int]) -> None:
        raise TypeError("no")

    inbox = Inbox()
    async with await bus.subscribe("jobs", int, fails, group="workers"):
        await bus.publish("jobs", 7)
        await bus.publish("jobs", 8)
        letters = await _letters(bus, 2)
    await bus.replay(letters[0])
    async with await bus.subscribe("jobs", int, inbox, group="workers"):
        assert await inbox.wait(1) == [7]
    await bus.forget("jobs", group="workers")
    with pytest.raises(NotFound, match="workers@jobs, which could not take a message of jobs, is gone"):
        await bus.replay(letters[1])
    assert await bus.dead_letters() == letters[1:]


async def test_a_group_that_is_forgotten_has_nothing_left_to_do(bus: MessageBus) -> None:
    first, second = Inbox(), Inbox()
    async with await bus.subscribe("jobs", int, first, group="workers"):
        await bus.publish("jobs", 1)
        await first.wait(1)
        with pytest.raises(InvalidState, match="has members: close them first"):
            await bus.forget("jobs", group="workers")
    await bus.publish("jobs", 2)
    await bus.forget("jobs", group="workers")
    with pytest.raises(NotFound, match="there is no group"):
        await bus.forget("jobs", group="workers")
    await bus.subscribe("jobs", int, second, group="workers")
    await bus.publish("jobs", 3)
    assert await second.wait(1) == [3]


async def test_a_dead_letter_that_is_large_can_be_sent_again_as_it_was(bus: MessageBus) -> None:
    large = "x" * 800_000
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handle(message: BusMessage[str]) -> None:
        if not failing:
            taken.set_result(len(message.data))
            return
        raise ValueError("not yet")

    failing = True
    await bus.subscribe("large", str, handle, group="g", retry=Retry(1))
    sent = await bus.publish("large", large, key="k", headers={"tenant": "a"})
    (letter,) = await _letters(bus, 1)
    assert (letter.subject, letter.subscriber, letter.parcel.id) == ("large", "g@large", sent)
    assert (letter.parcel.key, dict(letter.parcel.headers)) == ("k", {"tenant": "a"})
    failing = False
    await bus.replay(letter)
    async with asyncio.timeout(60):
        assert await taken == len(large)
    assert await bus.dead_letters() == []


async def test_groups_whose_names_and_patterns_run_into_each_other_are_two(bus: MessageBus) -> None:
    one, other = Inbox(), Inbox()
    await bus.subscribe("eu.orders", int, one, group="billing")
    await bus.subscribe("orders", int, other, group="billing.eu")
    for number in range(8):
        await bus.publish("eu.orders", number, key=str(number))
        await bus.publish("orders", number, key=str(number))
    assert sorted(await one.wait(8)) == sorted(await other.wait(8)) == list(range(8))


async def test_a_message_of_another_type_is_a_dead_letter_at_once_and_stops_nobody(bus: MessageBus) -> None:
    typed, plain = Inbox(), Inbox()
    await bus.subscribe("orders", Order, typed, group="typed", retry=QUICK)
    await bus.subscribe("orders", dict[str, Any], plain)
    await bus.publish("orders", {"id": "no number"})
    await bus.publish("orders", {"id": 1})
    assert await typed.wait(1) == [Order(id=1)]
    assert await plain.wait(2) == [{"id": "no number"}, {"id": 1}]
    (letter,) = await _letters(bus, 1)
    assert letter.reason == "invalid_input"
    assert "a message of orders fails its type: id:" in letter.message


async def test_what_a_member_leaves_undone_goes_to_the_others(bus: MessageBus) -> None:
    stuck, taken = asyncio.Event(), Inbox()

    async def hangs(message: BusMessage[int]) -> None:
        stuck.set()
        await asyncio.Event().wait()

    leaver = await bus.subscribe("jobs", int, hangs, group="workers", concurrency=1)
    for number in range(10):
        await bus.publish("jobs", number)
    async with asyncio.timeout(60):
        await stuck.wait()
    await leaver.close(grace=0)
    await bus.subscribe("jobs", int, taken, group="workers")
    assert await taken.wait(10) == list(range(10))


async def test_a_handler_that_is_at_work_goes_on_while_members_join_and_leave(
    bus: MessageBus, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["bus"] == "kafka":
        request.getfixturevalue("real_broker")  # the embedded one forgets members while it shares out a group
    began, go, joined = asyncio.Event(), asyncio.Event(), Inbox()
    told: list[str] = []

    async def works(message: BusMessage[int]) -> int:
        if message.key == "long":
            told.append("began")
            began.set()
            try:
                await go.wait()
            except asyncio.CancelledError:
                told.append("cancelled")
                raise
        return message.data

    await bus.subscribe("jobs", int, works, group="workers")
    long = asyncio.create_task(bus.request("jobs", 42, int, key="long", timeout=60))
    async with asyncio.timeout(60):
        await began.wait()
        async with await bus.subscribe("jobs", int, joined, group="workers"):
            number = 0
            while not joined.messages:
                number += 1
                await bus.publish("jobs", number, key=str(number))
                await asyncio.sleep(0.02)
        await bus.request("jobs", 1, int, key="other")
    assert told == ["began"]
    go.set()
    assert await long == 42
    assert told == ["began"]


async def test_a_group_that_is_away_gets_what_came_meanwhile(bus: MessageBus) -> None:
    first, second = Inbox(), Inbox()
    async with await bus.subscribe("jobs", int, first, group="workers"):
        await bus.publish("jobs", 1)
        await first.wait(1)
    await bus.publish("jobs", 2)
    await bus.subscribe("jobs", int, second, group="workers")
    assert await second.wait(1) == [2]


async def test_receiving_is_acknowledged_with_the_next_and_what_was_left_comes_again(bus: MessageBus) -> None:
    await (await bus.subscribe("jobs", int, Inbox(), group="workers")).close()
    for number in range(3):
        await bus.publish("jobs", number)
    found: list[int] = []
    async with asyncio.timeout(60), aclosing(bus.receive("jobs", int, group="workers")) as messages:
        async for message in messages:
            found.append(message.data)
            if message.data == 1:
                break
    async with asyncio.timeout(60), aclosing(bus.receive("jobs", int, group="workers")) as messages:
        async for message in messages:
            found.append(message.data)
            if message.data == 2:
                break
    assert found == [0, 1, 1, 2]


async def test_headers_and_the_trace_go_along(bus: MessageBus) -> None:
    provider = TracerProvider()
    tracer = provider.get_tracer("test")
    seen: list[tuple[dict[str, str], int]] = []
    came = asyncio.Event()

    async def handle(message: BusMessage[int]) -> None:
        seen.append((dict(message.headers), trace.get_current_span().get_span_context().trace_id))
        came.set()

    def in_thread(message: BusMessage[int]) -> int:
        return trace.get_current_span().get_span_context().trace_id

    await bus.subscribe("traced", int, handle)
    await bus.subscribe("asked", int, in_thread, group="g")
    with tracer.start_as_current_span("publisher") as span:
        await bus.publish("traced", 1, headers={"tenant": "a"})
        assert await bus.request("asked", 1, int) == span.get_span_context().trace_id
    async with asyncio.timeout(60):
        await came.wait()
    provider.shutdown()
    headers, trace_id = seen[0]
    assert headers["tenant"] == "a"
    assert trace_id == span.get_span_context().trace_id


async def test_a_handler_that_takes_too_long_is_stopped(bus: MessageBus) -> None:
    async def hangs(message: BusMessage[int]) -> None:
        await asyncio.Event().wait()

    await bus.subscribe("slow", int, hangs, timeout=0.02, retry=Retry(1))
    await bus.publish("slow", 1)
    (letter,) = await _letters(bus, 1)
    assert (letter.reason, letter.message) == ("timeout", "the handler took longer than 0.02 s")


async def test_a_handler_that_is_cancelled_from_inside_holds_nobody_up(bus: MessageBus) -> None:
    inbox = Inbox()

    async def gone(message: BusMessage[int]) -> None:
        if message.data == 1:
            raise asyncio.CancelledError
        await inbox(message)

    await bus.subscribe("jobs", int, gone, group="workers")
    await bus.publish("jobs", 1)
    await bus.publish("jobs", 2)
    assert await inbox.wait(1) == [2]
    (letter,) = await _letters(bus, 1)
    assert "cancelled from inside" in letter.message


class Panic(BaseException):
    """As an extension in Rust raises it."""


async def test_a_handler_that_raises_what_is_no_exception_holds_nobody_up(bus: MessageBus) -> None:
    inbox = Inbox()
    wrongs: list[BaseException] = [
        Panic("rust"),
        BaseExceptionGroup("both", [asyncio.CancelledError(), Panic("in a group")]),
        SystemExit(3),
    ]

    async def panics(message: BusMessage[int]) -> None:
        if message.data < len(wrongs):
            raise wrongs[message.data]
        await inbox(message)

    def exits(message: BusMessage[int]) -> None:
        sys.exit(4)

    await bus.subscribe("jobs", int, panics, group="workers", retry=Retry(1))
    await bus.subscribe("exits", int, exits, group="workers")
    for number in range(len(wrongs) + 1):
        await bus.publish("jobs", number)
    assert await inbox.wait(1) == [len(wrongs)]
    with pytest.raises(ExecutionFailed, match=r"the handler called sys\.exit\(4\)"):
        await bus.request("exits", 1, int)
    letters = await _letters(bus, len(wrongs) + 1)
    assert [letter.message for letter in letters if letter.subject == "jobs"] == [
        "the handler raised Panic: rust",
        "the handler raised BaseExceptionGroup: both (2 sub-exceptions)",
        "the handler called sys.exit(3)",
    ]


async def test_a_generator_is_no_handler_and_what_gives_one_fails(bus: MessageBus) -> None:
    async def yields(message: BusMessage[int]) -> AsyncIterator[int]:
        yield message.data

    def yields_here(message: BusMessage[int]) -> Iterator[int]:
        yield message.data

    class Yields:
        async def __call__(self, message: BusMessage[int]) -> AsyncIterator[int]:
            yield message.data

    def gives(message: BusMessage[int]) -> AsyncIterator[int]:
        return yields(message)

    def gives_here(message: BusMessage[int]) -> Iterator[int]:
        return yields_here(message)

    async def gives_later(message: BusMessage[int]) -> AsyncIterator[int]:
        return yields(message)

    for handler in (yields, yields_here, Yields(), partial(yields)):
        with pytest.raises(InvalidConfig, match="is a generator, and nobody would take what it yields"):
            await bus.subscribe("a", int, handler)
    for given in (gives, gives_here, gives_later):
        subscription = await bus.subscribe("a", int, given)
        with pytest.raises(ExecutionFailed, match="raised TypeError: the handler gave a generator"):
            await bus.request("a", 1, int)
        await subscription.close()
    assert len(await bus.dead_letters()) == 3


async def test_what_cannot_be_called_is_no_handler(bus: MessageBus) -> None:
    handlers: list[tuple[Any, str]] = [
        (None, "None is none$"),
        (chain(str.strip, name="words"), "give `lambda message: it.invoke"),
    ]
    for handler, told in handlers:
        with pytest.raises(InvalidConfig, match=f"handler is a function of the message, and .*{told}"):
            await bus.subscribe("a", str, handler)


@pytest.mark.parametrize("subject", ["", "a..b", ".a", "a b", "a.*", ">", "_inbox.x", "x" * 300, 7])
async def test_a_wrong_subject_is_refused(bus: MessageBus, subject: Any) -> None:
    with pytest.raises(InvalidInput):
        await bus.publish(subject, 1)


@pytest.mark.parametrize("pattern", ["", "a..b", "a.>.b", "a*", "a.b>", "_inbox.>", None])
async def test_a_wrong_pattern_is_refused(bus: MessageBus, pattern: Any) -> None:
    with pytest.raises(InvalidInput):
        await bus.subscribe(pattern, int, Inbox())


async def test_what_cannot_be_sent_is_refused(bus: MessageBus) -> None:
    with pytest.raises(NotSerializable, match="a message of a cannot become JSON"):
        await bus.publish("a", object())
    with pytest.raises(RecordTooLarge, match="may have 900,000"):
        await bus.publish("a", "x" * 1_000_000)
    with pytest.raises(InvalidInput, match="names that begin with beluga- are the bus's own"):
        await bus.publish("a", 1, headers={"Beluga-id": "x"})
    with pytest.raises(RecordTooLarge, match="with its key and headers"):
        await bus.publish("a", 1, headers={"tenant": "x" * 900_000})
    for key, headers in ((7, {}), ("\ud800", {}), ("k", {"tenant": 1}), ("k", {"tenant": "\udc00"})):
        with pytest.raises(InvalidInput, match="key and headers are texts"):
            await bus.publish("a", 1, key=key, headers=headers)  # type: ignore[arg-type]
    for timeout, told in ((-1, "timeout=-1"), (float("nan"), "the duration nan is out of range")):
        with pytest.raises(InvalidConfig, match=told):
            await bus.publish("a", 1, timeout=timeout)
        with pytest.raises(InvalidConfig, match=told):
            await bus.request("a", 1, int, timeout=timeout)
    with pytest.raises(InvalidConfig, match="cannot be checked by the type"):
        await bus.subscribe("a", Inbox, Inbox())
    with pytest.raises(InvalidConfig, match="cannot be checked by the type"):
        await bus.request("a", 1, Inbox)
    with pytest.raises(InvalidConfig, match="a secret in them, which arrives as asterisks"):
        await bus.subscribe("a", list[Login], Inbox())
    with pytest.raises(InvalidConfig, match="a secret in them, which arrives as asterisks"):
        await bus.request("a", 1, Login)
    with pytest.raises(InvalidConfig, match="the duration nan is out of range"):
        await bus.subscribe("a", int, Inbox(), timeout=float("nan"))
    with pytest.raises(InvalidConfig, match="concurrency=0"):
        await bus.subscribe("a", int, Inbox(), concurrency=0)
    with pytest.raises(InvalidConfig, match="group='a b'"):
        await bus.subscribe("a", int, Inbox(), group="a b")


async def test_a_bus_that_is_closed_takes_nothing_and_leaves_nobody_waiting(bus: MessageBus) -> None:
    began = asyncio.Event()

    async def hangs(message: BusMessage[int]) -> None:
        began.set()
        await asyncio.Event().wait()

    async def read() -> list[int]:
        async with aclosing(bus.receive("jobs", int)) as messages:
            return [message.data async for message in messages]

    subscription = await bus.subscribe("asked", int, hangs)
    asking = asyncio.create_task(bus.request("asked", 1, int))
    reading = asyncio.create_task(read())
    async with asyncio.timeout(60):
        await began.wait()
    await subscription.close(grace=0)
    await bus.aclose()
    with pytest.raises(TaskCanceled):
        await asking
    async with asyncio.timeout(10):
        with suppress(InvalidState):  # closed before it was there
            assert await reading == []
    with pytest.raises(InvalidState, match="closed"):
        await bus.publish("jobs", 1)
    await bus.aclose()


async def _letters(bus: MessageBus, count: int) -> list[Any]:
    async with asyncio.timeout(60):
        while len(letters := list(await bus.dead_letters())) < count:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.02)
    return letters
