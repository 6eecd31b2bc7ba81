"""Processes that have nothing to do notice that their broker is away, say so, and end when patience does."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from beluga_stream.cli.exits import NO_BROKER
from tests.acceptance.notes import Doc, declare, notes
from tests.brokers import HarmableBroker
from tests.engine import Engine, connected
from tests.gateway import GatewayProcess

_PATIENCE_SECONDS = 8
_END_SECONDS = 30.0
_ANSWER_SECONDS = 45.0
"""For an answer that takes a second or two; a start that nobody has bounded takes a minute."""


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


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.kafka
@pytest.mark.timeout(240)
async def test_a_start_is_refused_while_the_broker_stands_still_and_is_one_run_when_it_comes_again(
    own_broker: HarmableBroker, tmp_path: Path
) -> None:
    declare(tmp_path)
    engine = Engine(own_broker.address, tmp_path, agents="tests.acceptance.notes")
    await asyncio.to_thread(engine.start)
    gateway = GatewayProcess(engine, broker_seconds="1")
    try:
        await asyncio.to_thread(gateway.start)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as session:

            async def start(key: str) -> tuple[int, dict[str, Any]]:
                body, headers = {"input": {"text": "To be."}}, {"Idempotency-Key": key}
                async with session.post(f"{gateway.url}/v1/graphs/notes/runs", json=body, headers=headers) as answer:
                    return answer.status, await answer.json()

            async def ended(run: str) -> str:
                async with session.get(f"{gateway.url}/v1/runs/{run}/result") as answer:
                    assert answer.status == 200, await answer.text()
                async with session.get(f"{gateway.url}/v1/runs/{run}") as answer:
                    return str((await answer.json())["status"])

            status, first = await start("first")  # so that everything has been read that one takes
            assert (status, await ended(first["run"])) == (202, "succeeded")
            own_broker.pause()
            try:
                refused = [await start("second") for _ in range(2)]
            finally:
                own_broker.resume()
            assert {(status, told["code"], told["retryable"]) for status, told in refused} == {
                (503, "dependency_failed", True)
            }
            status, again = await start("second")
            while status == 503:  # it has much to catch up with
                status, again = await start("second")
            assert (status, await ended(again["run"])) == (202, "succeeded")
            async with session.get(f"{gateway.url}/v1/runs") as answer:
                runs = [each["run"] for each in (await answer.json())["runs"]]
            assert sorted(runs) == sorted([first["run"], again["run"]])
    finally:
        await asyncio.to_thread(gateway.stop)
        await asyncio.to_thread(engine.stop)
