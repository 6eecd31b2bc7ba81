"""What tests of durable runs share: a client of the real server, and settings for an orchestrator and its workers."""

import secrets
from pathlib import Path

import pytest
from temporalio.client import Client

from beluga_stream.adapters.temporal.connection import TemporalConnection
from beluga_stream.bootstrap.settings import Settings


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    """A client; the SDK closes its connection when nobody has it any more."""
    return await TemporalConnection(temporal_address).client()


@pytest.fixture
def settings(temporal_address: str, tmp_path: Path) -> Settings:
    """A task queue and a blob store that no other test has."""
    return Settings.load(
        temporal_address=temporal_address,
        temporal_task_queue=secrets.token_hex(8),
        blobs=str(tmp_path),
        shutdown_grace_seconds=0.5,
    )
