"""Closes a consumer whatever its broker does.

While a fetch that has failed waits for its next try, aiokafka's `stop` raises the cancellation of that wait, and leaves
the rest of the consumer as it is.
"""

# ruff: noqa: SLF001 - what is left has no other name (contract test: test_kafka_internals)

import asyncio

from aiokafka import AIOKafkaConsumer


async def close(consumer: AIOKafkaConsumer) -> None:
    """Stop it, and leave no task and no connection."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        fetches = list(consumer._fetcher._pending_tasks)
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        await consumer._client.close()
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
