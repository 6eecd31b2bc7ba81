"""Sends a producer's batches as soon as they are there.

aiokafka's sender is a task that waits for everything that may concern it, and is woken twice for each request. Here
whoever hands a batch over puts it on its way, and the answer does so with what has come meanwhile. A request that is
answered well has no task at all. How one is made, tried again and judged stays as it is.
"""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer.sender import Sender, SendProduceReqHandler

from beluga_stream.adapters.kafka.exchange import Exchange
from beluga_stream.adapters.kafka.produce_packet import ProduceAnswer


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
        self._requests: set[asyncio.Future[Any]] = set()
        self._due: asyncio.Handle | None = None
        self._broken: asyncio.Future[None] | None = None
        """Fails with what ends the sender."""
        append = accumulator._append_batch

        def append_and_send(builder: Any, target: TopicPartition) -> Any:
            batch = append(builder, target)
            self._send_soon()
            return batch

        accumulator._append_batch = append_and_send

    def send_now(self) -> None:
        """Do not wait for what else is handed over in this turn of the loop."""
        if self._due is not None:
            self._due.cancel()
            self._send()

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
            while self._requests:  # what is refused is tried again
                await asyncio.wait(self._requests)
        finally:
            left = list(self._requests)
            for each in (self._due, *left):
                if each is not None:
                    each.cancel()
            await asyncio.gather(*left, return_exceptions=True)

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
            try:
                self._request(node, batches)
            except Exception as error:  # noqa: BLE001 - it is told to all that wait
                self._end(error)
        if unknown_leaders:
            self.client.force_metadata_update().add_done_callback(lambda _: self._send_soon())

    def _request(self, node: int, batches: Mapping[TopicPartition, Any]) -> None:
        exchange = getattr(self.client.send, "__self__", None)
        handler = SendProduceReqHandler(self, batches)
        answer = exchange.begin(node, handler.create_request()) if isinstance(exchange, Exchange) else None
        if answer is None:
            self._go_on(self._judged(node, handler))
            return
        self._requests.add(answer)
        answer.add_done_callback(partial(self._answered, node, handler))

    def _answered(self, node: int, handler: SendProduceReqHandler, answer: "asyncio.Future[ProduceAnswer]") -> None:
        self._requests.discard(answer)
        if answer.cancelled():
            return  # the sender has ended
        if answer.exception() is None and _is_well(answer.result()):
            handler.handle_response(answer.result())
            self._over(node, handler)
            self._send()
            return
        handler._client = _Told(self.client, answer)
        self._go_on(self._judged(node, handler))

    async def _judged(self, node: int, handler: SendProduceReqHandler) -> None:
        """Do what follows from an answer that is not a good one, or is not there yet."""
        await handler.do(node)
        self._over(node, handler)

    def _over(self, node: int, handler: SendProduceReqHandler) -> None:
        self._in_flight.discard(node)
        self._muted_partitions.difference_update(handler._batches)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        request = asyncio.create_task(work)
        self._requests.add(request)
        request.add_done_callback(self._sent)

    def _sent(self, request: "asyncio.Task[None]") -> None:
        self._requests.discard(request)
        error = None if request.cancelled() else request.exception()
        if error is not None:
            self._end(error)
        self._send()

    def _end(self, error: BaseException) -> None:
        broken = KafkaError(f"a batch could not be sent: {error!r}")
        broken.__cause__ = error
        self._break(broken)

    def _break(self, error: KafkaError) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)


class _Told:
    """In the place of a client, for one request: its answer is there already."""

    def __init__(self, client: Any, answer: "asyncio.Future[ProduceAnswer]") -> None:
        self._answer = answer
        self.force_metadata_update = client.force_metadata_update
        self._maybe_wait_metadata = client._maybe_wait_metadata

    async def send(self, _: int, __: Any) -> ProduceAnswer:
        return await self._answer


def _is_well(answer: ProduceAnswer) -> bool:
    return all(placed[1] == 0 for _, partitions in answer.topics for placed in partitions)
