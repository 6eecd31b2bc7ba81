"""A circuit over two worker processes of one engine: what one of them learns, the other one goes by."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from beluga_stream import Client, connect
from beluga_stream.errors import RunFailed
from tests.engine import Engine, client_environ

AGENTS = Path(__file__).parent / "circuit_agents"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIRCUIT_FOLDER", str(tmp_path))
    (tmp_path / "clock").write_text("1000")
    (tmp_path / "down").touch()
    return tmp_path


@pytest.fixture
def engines(broker: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, Engine]]:
    """One with every role and the queue `one`, and a worker of the queue `two`."""
    (folder / "second").mkdir()
    first = Engine(broker, folder, agents=str(AGENTS), queues="one")
    second = Engine(
        broker,
        folder / "second",
        agents=str(AGENTS),
        queues="two",
        role="worker",
        prefix=first.prefix,
        blobs=first.environ["BELUGA_BLOBS"],
    )
    for name, value in client_environ(first).items():
        monkeypatch.setenv(name, value)
    first.start(groups=2)
    try:
        second.start(groups=1)
        try:
            yield first, second
        finally:
            assert second.stop() == 0, second.tail
    finally:
        assert first.stop() == 0, first.tail


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_circuit_opens_half_opens_and_closes_across_two_worker_processes(
    engines: tuple[Engine, Engine], folder: Path
) -> None:
    async with connect() as client:
        assert [await _failure(client, "one") for _ in range(2)] == ["execution_failed"] * 2
        assert _callers(folder) == [engines[0].pid] * 2

        # Opened by the first, it is open in the second, which calls nothing.
        assert await _failure(client, "two") == "circuit_breaker_open"
        assert await _failure(client, "one") == "circuit_breaker_open"
        assert len(_callers(folder)) == 2

        # Half-open: the second one's trial fails, and the first is refused again.
        (folder / "clock").write_text("1030")
        assert await _failure(client, "two") == "execution_failed"
        assert await _failure(client, "one") == "circuit_breaker_open"
        assert _callers(folder)[2:] == [engines[1].pid]

        # The first one's trial succeeds, and closes it for both.
        (folder / "clock").write_text("1060")
        (folder / "down").unlink()
        for graph in ("one", "two", "one"):
            assert await (await client.start(graph, 7)).result(timeout=60) == 7
        assert _callers(folder)[3:] == [engines[0].pid, engines[1].pid, engines[0].pid]


async def _failure(client: Client, graph: str) -> str:
    run = await client.start(graph, 7)
    with pytest.raises(RunFailed) as failed:
        await run.result(timeout=60)
    return failed.value.reason


def _callers(folder: Path) -> list[int]:
    calls = folder / "calls"
    return [int(line) for line in calls.read_text().split()] if os.path.exists(calls) else []  # noqa: PTH110 - a file
