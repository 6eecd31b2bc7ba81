"""The producer that everything of the engine is written by: idempotent, without linger, and patient."""

# ruff: noqa: SLF001 - three of aiokafka's habits can be changed only inside it (contract test: test_kafka_internals)

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from ...bounds import within
from .connection import KafkaConnection
from .courier import Courier
from .exchange import Exchange
from .sender import PromptSender, Told, tell

_METADATA_SECONDS = 0.2
_CLOSE_SECONDS = 1.0
"""For the connections of a producer that was given up."""


class PatientProducer(AIOKafkaProducer):  # type: ignore[misc]  # it ships no types
    """Keeps a batch for `patience` (seconds) until its partition has a leader, and asks for one at a pace.

    aiokafka gives such a batch up after the request timeout, which must stay short to notice a dead connection; and
    while there is no leader it asks for one without a pause, hundreds of times a second. For a topic that is written to
    for the first time it asks twice: once at once, and once more to hear the answer.

    Producers with one `courier` send what they have for one broker together.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        purpose: str,
        *,
        patience: float,
        max_record_bytes: int,
        courier: Courier | None = None,
        **options: Any,
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
        self._sender: PromptSender = PromptSender(self._sender)
        self.client.send = Exchange(self.client, courier).send
        self._update: Callable[[], asyncio.Future[bool]] = self.client.force_metadata_update
        self._updated = float("-inf")
        self._later: asyncio.Task[bool] | None = None
        self._add_topic: Callable[[str], asyncio.Future[bool]] = self.client.add_topic
        self.client.force_metadata_update = self._update_at_a_pace
        self.client.add_topic = self._add_at_once

    def hand_over(self, batches: Sequence[tuple[TopicPartition, BatchBuilder]], told: Told, *, now: bool) -> bool:
        """Take all of these, and tell of each when it lies in the log. False, and none is taken, when one has to wait.

        They go on their way after this turn of the loop, with what else is handed over in it, or `now`.
        """
        accumulator, cluster = self._message_accumulator, self.client.cluster
        if accumulator._closed or accumulator._exception is not None:
            return False
        for target, _ in batches:
            known = cluster.partitions_for_topic(target.topic)
            if known is None or target.partition not in known:
                return False
        if now and self._sender.post(batches, told):
            return True
        if any(accumulator._batches.get(target) for target, _ in batches):
            return False
        for place, (target, builder) in enumerate(batches):
            accumulator._append_batch(builder, target).future.add_done_callback(partial(tell, told, place))
        return True

    async def stop(self) -> None:
        """Send what is left, then ask for no leaders any more. When it is cancelled, what is left fails."""
        try:
            await self._sender.settle()
            await super().stop()
        except asyncio.CancelledError:
            self._closed = True
            await self._sender.give_up()
            with suppress(TimeoutError):  # a broker that stands still takes no leave
                async with within(_CLOSE_SECONDS):
                    await self.client.close()
            raise
        finally:
            if self._later is not None:
                self._later.cancel()
                await asyncio.gather(self._later, return_exceptions=True)

    def _update_at_a_pace(self) -> "asyncio.Future[bool]":
        if self.client._md_update_fut is not None:
            return self._update()  # it joins the one that is under way
        if self._later is None or self._later.done():
            pause = self._updated + _METADATA_SECONDS - asyncio.get_running_loop().time()
            if pause <= 0:
                return self._update_now()
            self._later = asyncio.create_task(self._update_later(pause), name="beluga-leaders")
        return asyncio.shield(self._later)  # all that ask meanwhile wait for the one answer

    def _add_at_once(self, topic: str) -> "asyncio.Future[bool]":
        if topic not in self.client._topics:
            self._updated = float("-inf")
        return self._add_topic(topic)

    def _update_now(self) -> "asyncio.Future[bool]":
        self._updated = asyncio.get_running_loop().time()
        return self._update()

    async def _update_later(self, pause: float) -> bool:
        await asyncio.sleep(pause)
        return await self._update_now()
