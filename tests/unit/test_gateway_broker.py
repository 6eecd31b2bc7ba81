"""A gateway that nobody calls looks after its broker, and ends when that stays away."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from beluga_stream.adapters.kafka.patience import Patience
from beluga_stream.bootstrap.gateway import watch
from beluga_stream.errors import AccessDenied, BelugaError, LogUnavailable
from beluga_stream.testing.virtual_time import run_virtually


class Broker:
    """Fails with the error from one moment to another."""

    def __init__(self, error: BelugaError, away_from: float, back_at: float) -> None:
        self._error = error
        self._away_from, self._back_at = away_from, back_at

    async def ask(self, names: Sequence[str]) -> None:
        assert names == []
        if self._away_from <= asyncio.get_running_loop().time() < self._back_at:
            raise self._error


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records if hasattr(record, "action")]


async def watched(broker: Broker, seconds: float) -> None:
    """Watch it for so long, with a patience of a minute."""
    watching = asyncio.create_task(watch(broker.ask, Patience("there", 60)))
    await asyncio.wait({watching}, timeout=seconds)
    if watching.done():
        watching.result()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_a_broker_that_comes_back_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run_virtually(watched(Broker(LogUnavailable("refused"), 100, 120), 300), 1)
    assert actions(caplog) == ["broker.away", "broker.back"]


def test_a_broker_that_stays_away_ends_it_when_patience_ends() -> None:
    async def play() -> None:
        with pytest.raises(LogUnavailable, match="Kafka at there has not answered for 60 s"):
            await watched(Broker(LogUnavailable("refused"), 100, 1000), 300)
        assert asyncio.get_running_loop().time() < 100 + 60 + 10

    run_virtually(play(), 1)


def test_a_broker_that_stands_still_is_away() -> None:
    async def stands_still(_: Sequence[str]) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(LogUnavailable):
        run_virtually(watch(stands_still, Patience("there", 60)), 1)


def test_a_broker_that_refuses_is_there(caplog: pytest.LogCaptureFixture) -> None:
    run_virtually(watched(Broker(AccessDenied("no"), 0, 1000), 300), 1)
    assert actions(caplog) == []
