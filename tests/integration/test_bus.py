"""The bus over Kafka with real processes: a member that is killed, and dead letters as operators see them."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import BusMessage, MessageBus, Retry, kafka_bus
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection

_MEMBER = Path(__file__).parent / "bus_member.py"


@pytest.fixture
async def bus(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[MessageBus]:
    prefix = f"t-{uuid.uuid4().hex[:10]}"
    for name, value in (("BROKER", broker), ("PREFIX", prefix), ("BLOBS", str(tmp_path))):
        monkeypatch.setenv(f"BELUGA_{name}", value)
    monkeypatch.setenv("BELUGA_SESSION_TIMEOUT_SECONDS", "6")
    async with kafka_bus() as opened:
        yield opened
    async with KafkaTopics(KafkaConnection.parse(broker)) as topics:
        await topics.delete([f"{prefix}.bus", f"{prefix}.dead-letters"])


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_what_a_killed_member_had_goes_to_the_others_and_nothing_is_lost(bus: MessageBus) -> None:
    member = await asyncio.create_subprocess_exec(sys.executable, str(_MEMBER), stdout=asyncio.subprocess.PIPE)
    assert member.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await member.stdout.readline() == b"ready\n"
        for number in range(40):
            await bus.publish("jobs.new", number, key=f"k{number}")
        taken = set()
        async with asyncio.timeout(60):
            while len(taken) < 16:  # it is at as many at once as it may be
                taken.add(int(await member.stdout.readline()))
    finally:
        member.kill()
        await member.wait()
    taken |= {int(line) for line in (await member.stdout.read()).split()}  # what it did until it died
    undone = {number for number in range(40) if number not in taken or number % 2}
    done: set[int] = set()
    complete = asyncio.Event()

    async def handle(message: BusMessage[int]) -> None:
        done.add(message.data)
        if undone <= done:
            complete.set()

    await bus.subscribe("jobs.*", int, handle, group="workers")
    async with asyncio.timeout(120):
        await complete.wait()
    assert undone <= done <= set(range(40))


@pytest.mark.slow
async def test_dead_letters_of_the_bus_are_listed_and_sent_again_by_the_command(bus: MessageBus) -> None:
    broken, mended = True, asyncio.Event()
    elsewhere: list[int] = []

    async def handle(message: BusMessage[int]) -> None:
        if broken:
            raise OSError("away")
        mended.set()

    async def other(message: BusMessage[int]) -> None:
        elsewhere.append(message.data)

    await bus.subscribe("jobs.*", int, handle, group="workers", retry=Retry(2, first=0.01))
    await bus.subscribe("jobs.*", int, other)
    await bus.publish("jobs.new", 7)
    async with asyncio.timeout(60):
        while not await bus.dead_letters():  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.05)
    (listed,) = json.loads(await _beluga("dead-letters", "list", "--json"))
    assert (listed["reason"], listed["handled"]) == ("execution_failed", None)
    assert "raised OSError, 2 times: away" in listed["message"]
    broken = False
    await _beluga("dead-letters", "replay", listed["id"])
    async with asyncio.timeout(60):
        await mended.wait()
    assert elsewhere == [7]
    assert json.loads(await _beluga("dead-letters", "list", "--json")) == []


async def _beluga(*words: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "beluga_stream.cli",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, wrong = await process.communicate()
    assert process.returncode == 0, wrong.decode()
    return out.decode()
