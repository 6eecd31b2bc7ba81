"""What tests of durable runs share: a client of the real server."""

import pytest
from temporalio.client import Client

from beluga_stream.adapters.temporal.connection import TemporalConnection


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    """A client; the SDK closes its connection when nobody has it any more."""
    return await TemporalConnection(temporal_address).client()
