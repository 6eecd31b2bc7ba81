"""A consumer that nobody answers makes its process wait for the broker, and whoever answers ends the wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest

from beluga_stream.adapters.kafka.absence import Absence
from beluga_stream.adapters.kafka.patience import Patience
from beluga_stream.testing.virtual_time import run_virtually

FETCH = FetchRequest(200, 1, 1, 1, [])
HEARTBEAT = HeartbeatRequest("group", 1, "member")
ABSENT = [KafkaConnectionError(), NodeNotReadyError(), RequestTimedOutError()]


class Consumer:
    """Its client asks a broker that answers after a while, or fails as it is told to."""

    def __init__(self, patience: Patience) -> None:
        self._client = self
        self.error: KafkaError | None = None
        self.seconds = 0.1
        self.given_up = 0
        self.absence = Absence(patience, self._give_up)
        self.absence.watch(self)

    async def send(self, node: int, request: Any, **more: Any) -> str:
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return "here"

    async def fail(self, error: KafkaError) -> None:
        """One fetch fails, and from now on all do."""
        self.error = error
        with pytest.raises(type(error)):
            await self.send(1, FETCH)

    async def answers(self) -> None:
        self.error = None
        assert await self.send(1, FETCH) == "here"

    def _give_up(self) -> None:
        self.given_up += 1


def said(caplog: pytest.LogCaptureFixture, play: Callable[[Consumer], Awaitable[None]]) -> list[tuple[str, int]]:
    """What a process with a consumer says while the play goes on."""

    async def played() -> None:
        await play(Consumer(Patience("there", 300)))

    with caplog.at_level(logging.WARNING):
        run_virtually(played(), 1)
    return [(record.action, record.seconds) for record in caplog.records if hasattr(record, "seconds")]


@pytest.mark.parametrize("error", ABSENT, ids=lambda error: type(error).__name__)
def test_the_wait_lasts_from_the_first_fetch_that_fails_to_the_first_answer(
    caplog: pytest.LogCaptureFixture, error: KafkaError
) -> None:
    async def play(consumer: Consumer) -> None:
        for _ in range(10):
            await consumer.fail(error)
            await asyncio.sleep(1)
        await consumer.answers()
        await asyncio.sleep(100)

    assert said(caplog, play) == [("broker.away", 5), ("broker.back", 11)]
    assert "Kafka at there has not answered for 5 s (fetching): waiting, for 300 s at most" in caplog.text


def test_what_fails_for_a_moment_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def play(consumer: Consumer) -> None:
        for _ in range(10):
            await consumer.fail(ABSENT[0])
            await asyncio.sleep(3)
            await consumer.answers()

    assert said(caplog, play) == []


def test_who_waits_for_patience_to_end_is_told_once() -> None:
    async def play() -> None:
        consumer = Consumer(Patience("there", 20))
        for _ in range(30):
            await consumer.fail(ABSENT[0])
            assert consumer.given_up == 0 or asyncio.get_running_loop().time() >= 20
            await asyncio.sleep(1)
        assert consumer.given_up == 1

    run_virtually(play(), 1)


def test_a_heartbeat_that_is_not_answered_begins_it(caplog: pytest.LogCaptureFixture) -> None:
    """As of a process that has no partitions, or a broker that stands still: nothing fails there for half a minute."""

    async def play(consumer: Consumer) -> None:
        consumer.seconds, consumer.error = 30, RequestTimedOutError()
        with pytest.raises(RequestTimedOutError):
            await consumer.send(1, HEARTBEAT)
        consumer.seconds = 0.1
        await consumer.answers()

    assert said(caplog, play) == [("broker.away", 5), ("broker.back", 30)]


def test_an_answer_that_the_broker_may_hold_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def play(consumer: Consumer) -> None:
        consumer.seconds = 60
        await consumer.answers()

    assert said(caplog, play) == []


def test_a_heartbeat_that_nobody_wants_any_more_leaves_no_wait(caplog: pytest.LogCaptureFixture) -> None:
    """When a group begins anew its members may wait for each other for longer than patience lasts."""

    async def play(consumer: Consumer) -> None:
        consumer.seconds = 2
        beating = asyncio.create_task(consumer.send(1, HEARTBEAT))
        await asyncio.sleep(1)
        beating.cancel()
        await asyncio.wait({beating})
        await asyncio.sleep(400)
        assert consumer.given_up == 0

    assert said(caplog, play) == []


def test_a_refusal_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def play(consumer: Consumer) -> None:
        await consumer.fail(TopicAuthorizationFailedError("topic"))
        await asyncio.sleep(400)
        assert consumer.given_up == 0

    assert said(caplog, play) == []


def test_who_stops_waits_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    async def play(consumer: Consumer) -> None:
        await consumer.fail(ABSENT[0])
        consumer.absence.over()
        await asyncio.sleep(400)
        assert consumer.given_up == 0

    assert said(caplog, play) == []
