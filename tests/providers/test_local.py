"""The provider `local` keeps the contract."""

import pytest

from beluga_stream.api.here import LocalProvider
from beluga_stream.api.provider import ProviderFactory
from beluga_stream.ports.spans import NoSpans
from beluga_stream.testing import ProviderContract


class TestLocal(ProviderContract):
    @pytest.fixture
    def make(self) -> ProviderFactory:
        return lambda: LocalProvider(NoSpans())
