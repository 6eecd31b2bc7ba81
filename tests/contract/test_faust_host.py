"""Role apps inside one ordinary Faust app, started by the ordinary command."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.ports.log import Outgoing, TopicSpec


class Worker:
    """A `faust worker` as a subprocess, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, condition: Callable[[list[str]], bool], *, seconds: float = 40.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition(self.lines):
                    await self._read()
        except (TimeoutError, EOFError):
            pytest.fail("the worker did not get there:\n" + "\n".join(self.lines[-40:]))

    async def ended(self, *, seconds: float = 40.0) -> int:
        async with asyncio.timeout(seconds):
            assert self.process.stdout is not None
            while line := await self.process.stdout.readline():
                self.lines.append(line.decode().rstrip())
            return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise EOFError
        self.lines.append(line.decode().rstrip())


def count(lines: list[str], words: str) -> int:
    return sum(words in line for line in lines)


@pytest.fixture
def connection(broker: str) -> KafkaConnection:
    return KafkaConnection.parse(broker)


@asynccontextmanager
async def worker(broker: str, prefix: str, data: Path, *, plain_agent: bool = False) -> AsyncIterator[Worker]:
    extra = {"PLAIN_AGENT": "1"} if plain_agent else {}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "faust", "-A", "tests.contract.hosting_app", "worker", "--loglevel", "info",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "BROKER": broker, "PREFIX": prefix, "DATA": str(data), **extra},
    )  # fmt: skip
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def prefix(connection: KafkaConnection, topic_prefix: str) -> str:
    async with KafkaTopics(connection) as topics:
        await topics.ensure([TopicSpec(f"{topic_prefix}work", 2), TopicSpec(f"{topic_prefix}plain", 1)])
    return topic_prefix


@pytest.mark.parametrize("plain_agent", [False, True], ids=["nothing of its own", "plain agent, table, timer"])
async def test_it_runs_all_and_stops_in_good_order(
    broker: str, connection: KafkaConnection, prefix: str, tmp_path: Path, *, plain_agent: bool
) -> None:
    async with (
        worker(broker, prefix, tmp_path, plain_agent=plain_agent) as running,
        KafkaAppender(connection) as log,
    ):
        await running.until(lambda lines: count(lines, "role acquired 0 1") == 2)
        await log.append([Outgoing(f"{prefix}work", b"k", b"v")])
        await running.until(lambda lines: count(lines, "role took 1") == 2)
        if plain_agent:
            await log.append([Outgoing(f"{prefix}plain", b"word", b"word")])
            await running.until(lambda lines: count(lines, "agent counted 1") == 1)
            await running.until(lambda lines: count(lines, "timer ticked") >= 2)
        running.process.terminate()
        assert await running.ended() == 0
    assert count(running.lines, "role released") == 2
    assert count(running.lines, "role closed") == 2
    assert count(running.lines, "all closed") == 1
    assert count(running.lines, "LeaveGroup request succeeded") >= 2


async def test_it_exits_with_an_error_when_a_role_fails(
    broker: str, connection: KafkaConnection, prefix: str, tmp_path: Path
) -> None:
    async with worker(broker, prefix, tmp_path) as running, KafkaAppender(connection) as log:
        await running.until(lambda lines: count(lines, "role acquired 0 1") == 2)
        await log.append([Outgoing(f"{prefix}work", b"k", b"boom")])
        assert await running.ended() != 0
    assert count(running.lines, "fails and ends its process: ValueError: boom") >= 1


async def test_it_says_that_there_is_no_broker(topic_prefix: str, tmp_path: Path) -> None:
    async with worker("127.0.0.1:1", topic_prefix, tmp_path) as running:
        await running.until(lambda lines: count(lines, "Kafka at 127.0.0.1:1 has not answered for 5 s") == 1)
        running.process.terminate()
        await running.ended()
