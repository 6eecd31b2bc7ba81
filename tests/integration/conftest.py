"""What tests of whole engines have in common."""

from collections.abc import AsyncIterator

import pytest

from beluga_stream import Client, connect
from tests.engine import Engine, client_environ


@pytest.fixture
async def client(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of the module's `engine`."""
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)
    async with connect() as client:
        yield client
