"""The stack of docker-compose.yml, as `make compose-up` starts it: events come in, a worker dies, a gateway serves."""

import asyncio
import itertools
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from beluga_stream import Chunk, Client, connect
from beluga_stream.adapters.http.tokens import SCOPES, new_token
from beluga_stream.errors import AccessDenied
from tests.brokers import free_port

pytestmark = [
    pytest.mark.compose,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not os.environ.get("BELUGA_COMPOSE"),
        reason="BELUGA_COMPOSE is not set; .ci/run sets it, having built the images and compose",
    ),
]

REPO = Path(__file__).resolve().parents[2]
STORIES = sorted((REPO / "agents" / "data" / "sherlock").glob("*.txt"))
COPIES = 15
"""Enough work that a worker dies in the midst of it."""
RUNS = COPIES * len(STORIES)
PATIENCE = 120.0


class Stack:
    """One project of compose, beside any that a developer runs."""

    def __init__(self) -> None:
        port, gateway_port = free_port(), free_port()
        self.kafka = f"127.0.0.1:{port}"
        self.gateway = f"http://127.0.0.1:{gateway_port}"
        self.token, kept = new_token("test", frozenset(SCOPES))
        self._command = shlex.split(os.environ.get("BELUGA_COMPOSE_COMMAND", "docker compose"))
        self._environment = {"COMPOSE_PROJECT_NAME": "beluga-test"} | os.environ
        self._environment |= {
            "KAFKA_PORT": str(port),
            "COMPOSE_PROFILES": "gateway",
            "GATEWAY_PORT": str(gateway_port),
            "BELUGA_HTTP_TOKENS": kept.line(),
        }

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=REPO,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"compose {shlex.join(arguments)}:\n{done.stderr[-3000:]}"
        return done.stdout

    def a_worker(self) -> str:
        """The id of one worker's container."""
        return self.compose("ps", "--quiet", "worker").split()[0]

    def kill(self, container: str) -> None:
        """`kill -9` inside it, as the kernel does when memory runs out."""
        # All processes but the first, which is init: it ends when its only child does.
        subprocess.run(["docker", "exec", container, "sh", "-c", "kill -9 -1"], check=False, timeout=PATIENCE)

    def restarts(self, container: str) -> int:
        form = "{{.RestartCount}}"
        inspect = ["docker", "inspect", "--format", form, container]
        return int(subprocess.run(inspect, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.compose("up", "--detach", "--no-build", "--wait")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "20")


async def test_no_story_is_lost_when_a_worker_is_killed(stack: Stack) -> None:
    # Found before there is work: looking for it takes as long as many stories do.
    killed = await asyncio.to_thread(stack.a_worker)
    await submit_stories(stack.kafka)
    async with connect(stack.kafka) as client:
        await until_runs(client, "stories", at_least=1)
        await asyncio.to_thread(stack.kill, killed)
        assert len(await client.list(graph="stories", status="succeeded")) < RUNS, "killed too late to show anything"
        await until_runs(client, "stories", at_least=RUNS, status="succeeded")
        # Each report starts a run of the next graph.
        await until_runs(client, "index", at_least=RUNS, status="succeeded")
        # One event is one run, whatever was delivered twice.
        assert len(await client.list(graph="stories")) == RUNS
        assert len(await client.list(graph="index")) == RUNS
    assert await asyncio.to_thread(stack.restarts, killed) == 1


async def test_who_has_the_token_starts_and_follows_runs_through_the_gateway(stack: Stack) -> None:
    path = STORIES[0]
    async with connect(stack.gateway, token=stack.token) as client:
        run = await client.start("stories", {"title": path.stem, "text": path.read_text()})
        events = [event async for event in run.stream()]
        assert any(isinstance(event, Chunk) for event in events)
        assert await run.result(timeout=PATIENCE)
        assert run.id in {each.id for each in await client.list(graph="stories", status="succeeded")}
    async with connect(stack.gateway, token="another") as client:
        with pytest.raises(AccessDenied):
            await client.list()


async def submit_stories(kafka: str) -> None:
    """What any program may do that knows nothing of us: publish JSON."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for copy, path in itertools.product(range(COPIES), STORIES):
            story = {"id": f"{path.stem}-{copy}", "title": path.stem, "text": path.read_text()}
            await producer.send_and_wait("documents.submitted", json.dumps(story).encode())


async def until_runs(client: Client, graph: str, *, at_least: int, status: str | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(await client.list(graph=graph, status=status)) < at_least:
        failed = await client.list(graph=graph, status="failed")
        assert not failed, f"{graph}: {failed[0].error}"
        assert time.monotonic() < deadline, f"{graph}: {[run.status for run in await client.list(graph=graph)]}"
        await asyncio.sleep(0.2)
