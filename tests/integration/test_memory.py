"""Memory on real processes: recalled right and saved once, whoever is killed between turns or right after a save."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from beluga_stream import Client, connect
from beluga_stream.errors import RunFailed
from tests.chaos.cluster import Deployment, Process, until
from tests.mortal_store import kept, tried

pytestmark = pytest.mark.timeout(300)

_AGENTS = Path(__file__).parent / "memory_agents"
_WAIT_SECONDS = 120


class Field:
    """One process for each role, and the folder in which its chain remembers. Use it with `async with`."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.folder = deployment.folder
        self._processes: dict[str, Process] = {}
        self._made = 0

    async def __aenter__(self) -> Self:
        (self.folder / "topics").mkdir(parents=True)
        await self.start("coordinator")
        await self.start("worker")
        return self

    async def __aexit__(self, *_: object) -> None:
        for role in tuple(self._processes):
            await self.kill(role)

    async def start(self, role: str) -> None:
        self._made += 1
        self._processes[role] = Process(self.deployment, role, f"{role}-{self._made}", role)
        await self._processes[role].ready()

    async def kill(self, role: str) -> None:
        """`kill -9`."""
        process = self._processes.pop(role)
        process.send(signal.SIGKILL)
        await process.ended(10)

    async def died(self, role: str) -> int:
        """How a process ended that was not told to."""
        process = self._processes.pop(role)
        await process.ended(_WAIT_SECONDS)
        assert process.code is not None
        return process.code


@pytest.fixture
async def field(broker: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Field]:
    environ = {"BELUGA_AGENTS": str(_AGENTS), "MEMORY_FOLDER": str(tmp_path)}
    async with Field(Deployment(broker, f"{topic_prefix}memory", tmp_path, environ=environ)) as made:
        yield made


@pytest.fixture
async def client(field: Field, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    for name in ("BELUGA_BROKER", "BELUGA_PREFIX", "BELUGA_PARTITIONS", "BELUGA_BLOBS"):
        monkeypatch.setenv(name, field.deployment.settings()[name])
    async with connect() as client:
        yield client


def _ask(text: str, **more: str) -> dict[str, Any]:
    return {"who": "anna", "text": text, **more}


@pytest.mark.usefixtures("real_broker")  # the embedded one keeps the partitions of the dead for minutes
async def test_three_turns_are_recalled_right_though_the_coordinator_is_killed(field: Field, client: Client) -> None:
    async def start(text: str, **more: str) -> list[Any]:
        """A turn with the chain, and one with the graph."""
        return [
            await client.start(work, {"who": who, "text": text, **more})
            for work, who in (("talk", "anna"), ("forum", "ben"))
        ]

    async def answers(runs: list[Any]) -> list[Any]:
        return [await run.result(timeout=_WAIT_SECONDS) for run in runs]

    assert await answers(await start("one")) == [["one "], "one, after 0"]
    second = await start("two", wait="go")
    for who in ("anna", "ben"):
        await until((field.folder / f"waiting-{who}").exists, _WAIT_SECONDS, "the second turn is being answered")
    await field.kill("coordinator")
    (field.folder / "go").touch()
    await field.start("coordinator")
    assert await answers(second) == [["one ", "two "], "one two, after 1"]
    await field.kill("coordinator")
    await field.start("coordinator")
    third = await start("three")
    other = await client.start("talk", {"who": "carl", "text": "hello"})
    assert await answers(third) == [["one ", "two ", "three "], "one two three, after 2"]
    assert await other.result(timeout=_WAIT_SECONDS) == ["hello "]
    saved = kept(field.folder)
    assert [turn for turn in saved if turn[0] == "anna"] == [
        ("anna", "one", "one "),
        ("anna", "two", "one two "),
        ("anna", "three", "one two three "),
    ]
    assert [turn for turn in saved if turn[0] == "ben"] == [
        ("ben", "one", "one, after 0"),
        ("ben", "two", "one two, after 1"),
        ("ben", "three", "one two three, after 2"),
    ]
    assert [turn for turn in saved if turn[0] == "carl"] == [("carl", "hello", "hello ")]


@pytest.mark.usefixtures("real_broker")  # others do not notice that a member of a group is dead
async def test_a_worker_that_dies_between_save_and_report_has_saved_once(field: Field, client: Client) -> None:
    (field.folder / "dies").touch()
    first = await client.start("talk", _ask("one"))
    assert await field.died("worker") == -signal.SIGKILL
    assert [text for _, text, _ in kept(field.folder)] == ["one"], "it was saved before its process died"
    await field.start("worker")
    assert await first.result(timeout=_WAIT_SECONDS) == ["one "]
    second = await client.start("talk", _ask("two"))
    assert await second.result(timeout=_WAIT_SECONDS) == ["one ", "two "]
    assert tried(field.folder) == [(first.id, "True"), (first.id, "False"), (second.id, "True")]
    assert [text for _, text, _ in kept(field.folder)] == ["one", "two"]


async def test_a_store_that_is_away_is_tried_again_and_then_named(field: Field, client: Client) -> None:
    run = await client.start("lost", _ask("one"))
    with pytest.raises(
        RunFailed, match=r"memory_load: the store SQLiteStore\('/no/such/folder/memory\.db'\)"
    ) as failed:
        await run.result(timeout=_WAIT_SECONDS)
    assert (failed.value.reason, failed.value.retryable) == ("dependency_failed", True)
    assert (failed.value.ids["node"], failed.value.ids["attempt"]) == ("memory_load", "4")
