"""The provider `kafka` keeps the contract: one engine process, and an orchestrator over it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from beluga_stream import Orchestrator, connect
from beluga_stream.api.provider import ProviderFactory
from beluga_stream.bootstrap.kafka import KafkaProvider
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import LogUnavailable, TimedOut
from beluga_stream.testing import ProviderContract, contract_works
from tests.engine import Engine, client_environ, running
from tests.providers import deployed
from tests.providers.undone import is_undone_in_time


@pytest.fixture(scope="module")
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    # Nothing is triggered, so there is no ingest.
    with running(broker, folder, groups=2, agents="tests.providers.deployed") as engine:
        yield engine


@pytest.fixture
def settings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    return Settings.load()


class TestKafka(ProviderContract):
    patience = 60.0

    @pytest.fixture
    def make(self, settings: Settings) -> ProviderFactory:
        return lambda: KafkaProvider(settings)


async def test_an_orchestrator_runs_what_is_deployed_and_counts_it(settings: Settings) -> None:
    async with Orchestrator(settings) as orch:
        works = contract_works
        counted = orch.create_chain(works.strip, works.words, works.count, name=works.counted.name, provider="kafka")
        await counted.check()
        connected = asyncio.all_tasks()
        await orch.check()
        await counted.check()
        assert asyncio.all_tasks() == connected
        assert await counted.batch(["a b", "c"]) == [2, 1]
        assert (orch.metrics().chains.executions, orch.metrics().active_chains) == (2, 0)


async def test_a_run_that_takes_too_long_is_ended_by_the_engine(settings: Settings) -> None:
    async with Orchestrator(settings) as orch, connect() as client:
        endless = orch.create_chain(
            contract_works.forever, name=contract_works.endless.name, provider="kafka", timeout=3
        )
        with pytest.raises(TimedOut):
            await endless.invoke("x")
        async with asyncio.timeout(30):
            while not await client.list(graph=endless.name, status="failed"):  # noqa: ASYNC110 - it tells no event
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_whose_time_is_up_is_undone_before_its_caller_hears_of_it(
    settings: Settings,
    tmp_path: Path,
    streamed: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    async with Orchestrator(settings) as orch:
        trip = orch.create_graph(deployed.held.name, str, str, provider="kafka", timeout=1)
        deployed.build(trip)
        await is_undone_in_time(trip, tmp_path, streamed=streamed)
        assert orch.metrics().graphs.errors == 1


async def test_a_broker_that_is_away_is_told_by_the_check() -> None:
    async with Orchestrator(Settings.load(broker="127.0.0.1:1")) as orch:
        counted = orch.create_chain(contract_works.strip, name="away", provider="kafka")
        with pytest.raises((LogUnavailable, TimedOut)):
            await counted.check()


async def test_a_bus_whose_broker_is_away_is_told_by_the_check() -> None:
    async with Orchestrator(Settings.load(broker="127.0.0.1:1"), bus="kafka") as orch:
        assert orch.message_bus
        with pytest.raises(
            LogUnavailable, match=r"Kafka at 127\.0\.0\.1:1 has not answered the message bus within 5 s"
        ):
            await orch.check()
