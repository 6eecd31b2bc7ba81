"""A workflow of one activity with nothing but Temporal's own client and worker: what a durable graph is measured by.

A process of its own, as the engine's role `workflows` is: `python -m benchmarks.plain_workflow ADDRESS TASK_QUEUE`.
"""

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker


@activity.defn
async def add_one(value: int) -> int:
    return value + 1


@workflow.defn
class Plain:
    """The same one activity."""

    @workflow.run
    async def run(self, value: int) -> int:
        return await workflow.execute_activity(
            add_one,
            value,
            start_to_close_timeout=timedelta(minutes=10),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


async def serve(address: str, task_queue: str) -> None:
    """Until the process is ended."""
    client = await Client.connect(address)
    async with Worker(client, task_queue=task_queue, workflows=[Plain], activities=[add_one]):
        print("ready", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
