"""What a process says of itself: alive, ready, and how each thing stands that it depends on."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from beluga_stream.adapters.probing.server import probe
from beluga_stream.application import health as health_module
from beluga_stream.application.health import Health, RoleHealth
from beluga_stream.errors import InvalidConfig

HEALTHCHECK = Path(__file__).resolve().parents[2] / "deploy" / "healthcheck.py"


async def answers() -> None:
    """As it should."""


async def fails() -> None:
    raise OSError("there is nobody")


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(session: aiohttp.ClientSession, port: int, path: str) -> tuple[int, Any]:
    async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else await answer.text()


async def test_a_process_is_alive_before_it_is_ready(session: aiohttp.ClientSession) -> None:
    health = Health()
    async with probe("0", health, None) as port:
        assert (await ask(session, port, "/live"))[0] == 200
        assert await ask(session, port, "/ready") == (503, {"status": "starting", "waiting": []})
        health.roles = lambda: {"worker": RoleHealth(ready=False), "ingest": RoleHealth(ready=True)}
        assert await ask(session, port, "/ready") == (503, {"status": "waiting", "waiting": ["worker"]})
        health.roles = lambda: {"worker": RoleHealth(ready=True, partitions=(0, 1))}
        assert await ask(session, port, "/ready") == (200, {"status": "ready", "waiting": []})
        assert (await ask(session, port, "/metrics"))[0] == 404


async def test_a_process_with_nothing_to_do_is_ready() -> None:
    health = Health()
    health.roles = dict
    assert health.ready()[0], "ingest without triggers has no roles"


async def test_each_dependency_is_told_and_none_is_waited_for_long(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_CHECK_SECONDS", 0.05)
    health = Health({"broker": answers, "blobs": fails, "other": hangs})
    health.roles = lambda: {"worker": RoleHealth(ready=True)}
    async with probe("127.0.0.1:0", health, None) as port:
        status, told = await ask(session, port, "/health")
    assert (status, told["status"]) == (503, "degraded"), "it is ready, and one should look"
    assert {name: (one["ok"], one["error"]) for name, one in told["dependencies"].items()} == {
        "broker": (True, None),
        "blobs": (False, "OSError: there is nobody"),
        "other": (False, "no answer within 0.05 s"),
    }
    assert told["roles"] == {"worker": {"ready": True, "partitions": [], "failure": None}}


async def test_many_who_ask_at_once_are_one_question() -> None:
    asked = 0

    async def counts() -> None:
        nonlocal asked
        asked += 1

    health = Health({"broker": counts})
    health.roles = lambda: {"worker": RoleHealth(ready=True)}
    found = await asyncio.gather(*(health.report() for _ in range(50)))
    assert asked == 1
    assert all(is_well for is_well, _ in found)


async def test_a_role_that_failed_says_why() -> None:
    health = Health()
    health.roles = lambda: {"worker": RoleHealth(ready=False, failure="LogUnavailable: gone")}
    is_well, told = await health.report()
    assert not is_well
    assert told["roles"]["worker"]["failure"] == "LogUnavailable: gone"


async def test_metrics_are_shown_as_they_are(session: aiohttp.ClientSession) -> None:
    async with probe("0", Health(), lambda: b"runs 1\n") as port:
        assert await ask(session, port, "/metrics") == (200, "runs 1\n")


async def test_an_address_that_is_taken_is_refused_in_one_line() -> None:
    async with probe("0", Health(), None) as port:
        with pytest.raises(InvalidConfig, match="give each process its own"):
            async with probe(str(port), Health(), None):
                pass


async def test_a_container_is_healthy_when_its_process_is_ready() -> None:
    health = Health()

    async def code(address: str) -> int | None:
        environ = {**os.environ, "BELUGA_PROBE_ADDRESS": address}
        process = await asyncio.create_subprocess_exec(sys.executable, HEALTHCHECK, env=environ)
        return await process.wait()

    async with probe("0", health, None) as port:
        assert await code(str(port)) == 1
        health.roles = lambda: {"worker": RoleHealth(ready=True)}
        assert await code(f"0.0.0.0:{port}") == 0
    assert await code(str(port)) == 1, "nobody is there"
