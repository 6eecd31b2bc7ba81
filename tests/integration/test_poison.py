"""Handlers that kill their process, on real processes: failed as poison, and every run beside them finishes."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from beluga_stream import Client
from beluga_stream.errors import RunFailed
from tests.engine import Engine

AGENTS = Path(__file__).parent / "poison_agents"
_BESIDE = int(os.environ.get("BESIDE", "20"))
_WAIT_SECONDS = 120 + _BESIDE
_MAX_CRASHES = 3


class Pool:
    """One worker that is started again whenever it ends, as an orchestrator does. `deaths` are its exit codes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.deaths: list[int] = []

    async def keep(self) -> None:
        """Until it is cancelled."""
        while True:
            with self._engine.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *self._engine.command,
                    stdout=log,
                    stderr=log,
                    cwd=self._engine.folder,
                    env={**self._engine.environ, "BELUGA_ROLE": "worker", "BELUGA_INSTANCE": "worker-1"},
                )
            try:
                self.deaths.append(await process.wait())
            finally:
                if process.returncode is None:
                    process.terminate()
                    await asyncio.wait_for(process.wait(), 40)


@pytest.fixture
async def engine(broker: str, tmp_path: Path) -> AsyncIterator[Engine]:
    made = Engine(
        broker,
        tmp_path,
        agents=str(AGENTS),
        role="coordinator",
        lease_after_seconds="1",
        heartbeat_seconds="1",
        lease_seconds="4",
        session_timeout_seconds="6",
        worker_processes="4",
    )
    await asyncio.to_thread(made.start, groups=1)
    yield made
    assert await asyncio.to_thread(made.stop) == 0, made.tail


@pytest.fixture
async def pool(engine: Engine) -> AsyncIterator[Pool]:
    made = Pool(engine)
    keeping = asyncio.create_task(made.keep())
    async with asyncio.timeout(60):
        while len(engine.said("role.acquired")) < 2:  # noqa: ASYNC110 - the worker tells by its log
            await asyncio.sleep(0.1)
    yield made
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("graph", "worker_deaths"),
    [("exits", _MAX_CRASHES), ("crashes_later", _MAX_CRASHES - 1), ("dies_alone", 0)],
    ids=["at once", "under a lease", "in a process"],
)
async def test_poison_fails_and_what_runs_beside_it_finishes(
    engine: Engine, pool: Pool, client: Client, graph: str, worker_deaths: int
) -> None:
    *beside, run = await asyncio.gather(
        *(client.start("innocent", number) for number in range(_BESIDE)), client.start(graph, 1)
    )
    with pytest.raises(RunFailed, match=rf"{graph}: its process died 3 times in a row, .* on worker .*") as failed:
        await run.result(timeout=_WAIT_SECONDS)
    assert failed.value.reason == "poisoned"
    assert await asyncio.gather(*(each.result(timeout=_WAIT_SECONDS) for each in beside)) == list(range(_BESIDE))
    # A quick one dies once before anybody knows of it; the last death is in a process of its own.
    assert len(pool.deaths) == worker_deaths
    assert len(engine.said("process_lost")) == (_MAX_CRASHES if graph == "dies_alone" else 1)
