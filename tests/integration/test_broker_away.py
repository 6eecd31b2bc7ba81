"""Processes that have nothing to do notice that their broker is away, say so, and end when patience does."""

import asyncio
from pathlib import Path

import pytest

from beluga_stream.cli.exits import NO_BROKER
from tests.acceptance.notes import Doc, declare, notes
from tests.brokers import HarmableBroker
from tests.engine import Engine, connected
from tests.gateway import GatewayProcess

_PATIENCE_SECONDS = 8
_END_SECONDS = 30.0


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.kafka
@pytest.mark.timeout(240)
async def test_an_idle_engine_and_a_gateway_whose_broker_does_not_come_back_end(
    own_broker: HarmableBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tmp_path)
    monkeypatch.setenv("BELUGA_BROKER_PATIENCE_SECONDS", str(_PATIENCE_SECONDS))
    engine = Engine(own_broker.address, tmp_path, agents="tests.acceptance.notes")
    await asyncio.to_thread(engine.start)
    gateway = GatewayProcess(engine)
    try:
        await asyncio.to_thread(gateway.start)
        async with connected(engine, monkeypatch) as client:
            await (await client.start(notes, Doc(text="To be."))).result(timeout=30)
        await asyncio.to_thread(own_broker.down)
        code = await asyncio.to_thread(engine.ended, _END_SECONDS)
        assert await asyncio.to_thread(gateway.ended, _END_SECONDS) == NO_BROKER
    finally:
        await asyncio.to_thread(gateway.stop)
        await asyncio.to_thread(engine.stop)
    assert code == 1
    assert "has not answered for 8 s" in gateway.tail
    assert [line["seconds"] for line in engine.said("broker.away")] == [5]
    assert {line["error"] for line in engine.said("role.failed")} == {"LogUnavailable"}
    assert "has not answered for 8 s" in engine.tail
    assert len(engine.said("fetch")) <= 2, "what repeats is said seldom"
