"""The provider `temporal` keeps the contract: a real server, a worker beside each provider, and a log in memory."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from beluga_stream import Orchestrator
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
from beluga_stream.errors import TemporalUnavailable
from beluga_stream.testing import ProviderContract, WorkflowContract, contract_workflows, contract_works
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
        settings = Settings.load(
            temporal_address=temporal_address,
            temporal_task_queue=secrets.token_hex(8),
            blobs=str(tmp_path),
            shutdown_grace_seconds=0.1,
        )
        return lambda: Attended(settings)


async def test_a_server_that_is_away_is_told_by_the_check() -> None:
    async with Orchestrator(Settings.load(temporal_address=f"127.0.0.1:{free_port()}")) as orch:
        with pytest.raises(TemporalUnavailable):
            await orch.create_chain(contract_works.strip, name="away", provider="temporal").check()
