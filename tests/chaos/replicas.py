"""Whether every replica of every partition has what its leader has."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

_PAUSE_SECONDS = 0.5


async def in_sync(broker: str, within: float) -> None:
    """Wait for that (seconds), as one does between two restarts. Raises `TimeoutError`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        async with asyncio.timeout(within):
            while True:
                partitions = [each for topic in await admin.describe_topics() for each in topic["partitions"]]
                if all(len(each["isr"]) == len(each["replicas"]) for each in partitions):
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        await admin.close()
