"""The provider `dbos` keeps the contract, each time over a file of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from beluga_stream.api.provider import ProviderFactory, WorkflowProvider
from beluga_stream.bootstrap.dbos_provider import DbosProvider
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.testing import ProviderContract


class TestDbos(ProviderContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> ProviderFactory:
        settings = Settings.load(dbos_database=str(tmp_path / "dbos.sqlite"))
        return lambda: DbosProvider(settings)

    def test_it_runs_workflows_too(self, play: Callable[..., None]) -> None:
        async def test(provider: object) -> None:
            assert isinstance(provider, WorkflowProvider)

        play(test)
