"""The provider `temporal` keeps the contract: a real server, a worker beside each provider, and a log in memory."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from beluga_stream import Graph, Orchestrator
from beluga_stream.adapters.files.blobs import FileBlobs
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.api.provider import ProviderFactory
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.bootstrap.connection import topics
from beluga_stream.bootstrap.deployment import Programs
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.bootstrap.temporal import temporal, worker_of
from beluga_stream.bootstrap.temporal_provider import TemporalProvider
from beluga_stream.errors import RunFailed, TemporalUnavailable
from beluga_stream.testing import ProviderContract, WorkflowContract, contract_workflows, contract_works
from tests.providers import deployed
from tests.providers.undone import is_undone_in_time
from tests.temporal_server import free_port

_DEPLOYED = Programs(
    [
        contract_works.counted,
        contract_works.spelled,
        contract_works.mended,
        contract_works.hopeless,
        contract_works.broken,
        contract_works.endless,
        contract_works.diamond,
        contract_works.both,
        contract_works.nested,
        contract_works.asking,
        deployed.held,
        *contract_workflows.WORKS,
    ]
)


class Attended(TemporalProvider):
    """The provider with a worker that begins with its first run."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, open_runs=self._opened)
        self._own = settings

    async def client(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as its base
        client = await super().client()
        await self.runs()
        return client

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Runs]:
        log, names = MemoryLog(), topics(self._own)
        log.create(names.specs(_DEPLOYED.queues))
        client = await temporal(self._own).client()
        runs = Runs(
            topics=names,
            appender=log,
            reader=log,
            payloads=Payloads(FileBlobs(self._own.blobs)),
            clock=SystemClock(),
            partition=lambda run: partition_of(run.encode(), names.partitions),
        )
        worker = worker_of(self._own, client, deployment=_DEPLOYED, appender=log, reader=log)
        async with worker:
            try:
                yield runs
            finally:
                await runs.close()


class TestTemporal(ProviderContract, WorkflowContract):
    patience = 60.0

    @pytest.fixture
    def make(self, temporal_address: str, tmp_path: Path) -> ProviderFactory:
        settings = _settings(temporal_address, tmp_path)
        return lambda: Attended(settings)


async def test_a_server_that_is_away_is_told_by_the_check() -> None:
    async with Orchestrator(Settings.load(temporal_address=f"127.0.0.1:{free_port()}")) as orch:
        with pytest.raises(TemporalUnavailable):
            await orch.create_chain(contract_works.strip, name="away", provider="temporal").check()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_whose_time_is_up_is_undone_before_its_caller_hears_of_it(
    temporal_address: str,
    tmp_path: Path,
    streamed: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    settings = _settings(temporal_address, tmp_path)
    async with Orchestrator(settings, providers={"temporal": lambda: Attended(settings)}) as orch:
        trip = orch.create_graph(deployed.held.name, str, str, provider="temporal", timeout=1)
        deployed.build(trip)
        await is_undone_in_time(trip, tmp_path, streamed=streamed)


async def test_a_workflow_that_has_less_time_than_its_graph_is_undone_when_it_is_over(
    temporal_address: str, tmp_path: Path
) -> None:
    settings = _settings(temporal_address, tmp_path)
    trip = Graph[str, str](deployed.held.name, durable=True)
    deployed.build(trip)
    async with Orchestrator(settings, providers={"temporal": lambda: Attended(settings)}) as orch:
        workflow = orch.create_workflow(trip, timeout=1)
        run = await workflow.execute(str(tmp_path))
        with pytest.raises(RunFailed, match="did not end within 1 s") as failed:
            await workflow.get_result(run, timeout=30)
        assert failed.value.reason == "timeout"
        assert (tmp_path / "released").exists()


def _settings(temporal_address: str, folder: Path) -> Settings:
    return Settings.load(
        temporal_address=temporal_address,
        temporal_task_queue=secrets.token_hex(8),
        blobs=str(folder),
        shutdown_grace_seconds=0.1,
    )
