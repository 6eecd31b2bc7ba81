"""Sends a producer's batches as soon as they are there.

aiokafka's sender is a task that waits for everything that may concern it, and is woken twice for each request. Here
whoever hands a batch over puts it on its way, and the end of a request does so with what has come meanwhile. How a
request is made, tried again and judged stays as it is.
"""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer.sender import Sender


class PromptSender(Sender):  # type: ignore[misc]  # it ships no types
    """In the place of the sender of an idempotent producer without linger, and without transactions once it runs."""

    def __init__(self, replaced: Sender) -> None:
        accumulator = replaced._message_accumulator
        super().__init__(
            replaced.client,
            acks=replaced._acks,
            txn_manager=replaced._txn_manager,
            message_accumulator=accumulator,
            retry_backoff_ms=replaced._retry_backoff * 1000,
            request_timeout_ms=replaced._request_timeout_ms,
        )
        self._requests: set[asyncio.Task[None]] = set()
        self._due: asyncio.Handle | None = None
        self._broken: asyncio.Future[None] | None = None
        """Fails with what ends the sender."""
        append = accumulator._append_batch

        def append_and_send(builder: Any, target: TopicPartition) -> Any:
            batch = append(builder, target)
            self._send_soon()
            return batch

        accumulator._append_batch = append_and_send

    async def give_up(self) -> None:
        """Send nothing any more: what is not confirmed fails."""
        self._break(ProducerClosed())
        if self._sender_task is not None:
            await asyncio.wait({self._sender_task})

    async def _sender_routine(self) -> None:
        """Go on until the producer is closed, or something happens that nothing here knows of."""
        self._broken = asyncio.get_running_loop().create_future()
        self._send_soon()
        try:
            await self._broken
        except asyncio.CancelledError:
            await asyncio.gather(*self._requests)
        finally:
            for left in (self._due, *self._requests):
                if left is not None:
                    left.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)

    def _fail_all(self, task: "asyncio.Task[None]") -> None:
        """Nothing that is left will be sent. There is no transaction that could fail with it."""
        error = None if task.cancelled() else task.exception()
        accumulator = self._message_accumulator
        accumulator.fail_all(error or ProducerClosed())
        for batches in accumulator._batches.values():
            for batch in batches:
                batch._drain_waiter.exception()  # whether somebody waits for it or not

    @property
    def _sends(self) -> bool:
        return self._broken is not None and not self._broken.done()

    def _send_soon(self) -> None:
        """Send after this turn of the loop: by then all that is handed over together is there."""
        if self._due is None and self._sends:
            self._due = asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._due = None
        accumulator = self._message_accumulator
        if not accumulator._batches or not self._sends:
            return
        by_node, unknown_leaders = accumulator.drain_by_nodes(
            ignore_nodes=self._in_flight, muted_partitions=self._muted_partitions
        )
        for node, batches in by_node.items():
            self._in_flight.add(node)
            self._muted_partitions.update(batches)
            request = asyncio.create_task(self._send_produce_req(node, batches))
            self._requests.add(request)
            request.add_done_callback(self._sent)
        if unknown_leaders:
            self.client.force_metadata_update().add_done_callback(lambda _: self._send_soon())

    def _sent(self, request: "asyncio.Task[None]") -> None:
        self._requests.discard(request)
        error = None if request.cancelled() else request.exception()
        if error is not None:
            broken = KafkaError(f"a batch could not be sent: {error!r}")
            broken.__cause__ = error
            self._break(broken)
        self._send()

    def _break(self, error: KafkaError) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)
