"""The producer that everything of the engine is written by: idempotent, without linger, and patient."""

# ruff: noqa: SLF001 - two of aiokafka's habits can be changed only inside it (contract test: test_kafka_internals)

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer

from beluga_stream.adapters.kafka.connection import KafkaConnection

_METADATA_SECONDS = 0.2


class PatientProducer(AIOKafkaProducer):  # type: ignore[misc]  # it ships no types
    """Keeps a batch for `patience` (seconds) until its partition has a leader, and asks for one at a pace.

    aiokafka gives such a batch up after the request timeout, which must stay short to notice a dead connection; and
    while there is no leader it asks for one without a pause, hundreds of times a second.
    """

    def __init__(
        self, connection: KafkaConnection, purpose: str, *, patience: float, max_record_bytes: int, **options: Any
    ) -> None:
        super().__init__(
            **connection.client_settings(purpose),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=max_record_bytes,
            max_request_size=max_record_bytes + 48_000,
            **options,
        )
        self._message_accumulator._batch_ttl = patience
        self._update = self.client.force_metadata_update
        self._updated = float("-inf")
        self.client.force_metadata_update = self._update_at_a_pace

    def _update_at_a_pace(self) -> "asyncio.Future[bool]":
        now = asyncio.get_running_loop().time()
        pause = max(0.0, self._updated + _METADATA_SECONDS - now)
        self._updated = now + pause
        return self._update() if pause == 0 else asyncio.ensure_future(self._update_later(pause))

    async def _update_later(self, pause: float) -> bool:
        await asyncio.sleep(pause)
        return bool(await self._update())
