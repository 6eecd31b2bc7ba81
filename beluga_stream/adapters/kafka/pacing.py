"""Asks a broker less often that answers an empty fetch at once, instead of holding it for a while as Kafka does.

The embedded broker is one. aiokafka would ask it a thousand times a second, for nothing, in every consumer of a
process that has nothing to do. So one that has given nothing for a while is asked fifty times a second; whatever comes
makes it be asked without a pause again. With a broker that holds fetches nothing changes.
"""

# ruff: noqa: SLF001 - aiokafka has no place for it; tests/contract/test_pacing.py looks after it

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

_AT_ONCE = 0.5
"""An answer within this part of the time that the broker may hold a fetch was not held."""

_IN_VAIN = 50
"""After so many empty answers at once, one after the other, there is a pause before the next fetch."""

_PAUSE_SECONDS = 0.02


def pace(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """The consumer, paced. To be called before it starts."""
    client: Any = consumer._client
    send = client.send
    in_vain = 0

    async def paced(node_id: int, request: Any, **more: Any) -> Any:
        nonlocal in_vain
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **more)
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = await send(node_id, request, **more)
        held = loop.time() - began > _AT_ONCE * request._max_wait_ms / 1000
        in_vain = 0 if held or _has_records(response) else in_vain + 1
        if in_vain > _IN_VAIN:
            await asyncio.sleep(_PAUSE_SECONDS)
        return response

    client.send = paced
    return consumer


def _has_records(response: Any) -> bool:
    return any(partition[-1] for _, partitions in response.topics for partition in partitions)
