"""A process that has spoken to Temporal ends when its program does."""

import subprocess
import sys

_LEAVES = """
import asyncio
import sys
from beluga_stream.adapters.temporal.connection import TemporalConnection

async def leave() -> None:
    client = await TemporalConnection(sys.argv[1]).client()
    asked = [asyncio.ensure_future(client.get_workflow_handle("nobody").describe()) for _ in range(200)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)

asyncio.run(leave())
"""


def test_a_process_ends_though_answers_are_on_their_way(temporal_address: str) -> None:
    left = subprocess.run([sys.executable, "-c", _LEAVES, temporal_address], timeout=60, check=False)
    assert left.returncode == 0
