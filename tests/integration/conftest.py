"""What tests of whole engines have in common."""

from collections.abc import AsyncIterator

import pytest

from beluga_stream import Client
from tests.engine import Engine, connected


@pytest.fixture
async def client(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of the module's `engine`."""
    async with connected(engine, monkeypatch) as client:
        yield client
