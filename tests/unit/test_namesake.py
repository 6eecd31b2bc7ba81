"""A member that is none any more, though it was alive, has a namesake; one that was silent for too long has not."""

import asyncio
import logging
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import NoError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest

from beluga_stream.adapters.kafka.namesake import Namesake
from beluga_stream.testing.virtual_time import run_virtually

HEARTBEAT = HeartbeatRequest("group", 1, "member")
WELL, REBALANCING, NO_MEMBER = NoError.errno, RebalanceInProgressError.errno, UnknownMemberIdError.errno


class Answer(NamedTuple):
    error_code: int


class Consumer:
    """Its client answers what it is told to."""

    def __init__(self) -> None:
        self._client = self
        self.code = WELL

    async def send(self, node: int, request: Any, **more: Any) -> Any:
        return Answer(self.code) if isinstance(request, HeartbeatRequest) else "fetched"


def told(caplog: pytest.LogCaptureFixture, *answers: tuple[float, int]) -> int:
    """How often a namesake is told of, where heartbeats are answered so, each after so many seconds."""

    async def play() -> None:
        consumer = Consumer()
        Namesake("shop-worker", "w1", 10).watch(consumer)
        for seconds, code in answers:
            await asyncio.sleep(seconds)
            assert await consumer.send(1, FetchRequest(200, 1, 1, 1, [])) == "fetched"
            consumer.code = code
            assert await consumer.send(1, HEARTBEAT) == Answer(code)

    with caplog.at_level(logging.ERROR):
        run_virtually(play(), 1)
    return sum(getattr(record, "action", None) == "group.namesake" for record in caplog.records)


@pytest.mark.parametrize("before", [WELL, REBALANCING])
def test_who_was_heard_of_and_is_no_member_has_a_namesake(caplog: pytest.LogCaptureFixture, before: int) -> None:
    assert told(caplog, (1, before), (3, NO_MEMBER)) == 1
    assert "group shop-worker: both are named BELUGA_INSTANCE=w1" in caplog.text


def test_who_was_silent_for_a_session_has_lost_its_place_by_that(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, (1, WELL), (11, NO_MEMBER)) == 0


def test_who_never_was_a_member_has_none(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, (1, NO_MEMBER), (1, NO_MEMBER)) == 0


def test_it_is_told_of_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    by_turns = [(3.0, WELL), (3.0, NO_MEMBER)] * 10  # for a minute
    assert told(caplog, *by_turns) == 2
