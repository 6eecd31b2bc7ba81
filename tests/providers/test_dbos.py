"""The provider `dbos` keeps the contract, each time over a file of its own."""

from pathlib import Path

import pytest

from beluga_stream.api.provider import ProviderFactory
from beluga_stream.bootstrap.dbos_provider import DbosProvider
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.testing import ProviderContract, WorkflowContract


class TestDbos(ProviderContract, WorkflowContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> ProviderFactory:
        settings = Settings.load(dbos_database=str(tmp_path / "dbos.sqlite"))
        return lambda: DbosProvider(settings)
