"""Sends a producer's batches as soon as they are there.

aiokafka's sender is a task that waits for everything that may concern it, and is woken twice for each request. Here
whoever hands a batch over puts it on its way, and the end of a request does so with what has come meanwhile. What
nothing is in the way of is a `post`: it has no place in a queue and no task, if it is answered well. What is refused,
or has to wait, goes aiokafka's way of trying again.
"""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.structs import RecordMetadata

from .exchange import Exchange
from .produce_packet import ProduceAnswer, ProducePacket

Told: TypeAlias = Callable[[int, "int | KafkaError"], None]
"""Of a batch, by its place among those handed over: its offset in the log, or why it is not there."""

_NO_LEADER = (None, -1)


class _Posted(NamedTuple):
    place: int
    target: TopicPartition
    builder: BatchBuilder


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

    def post(self, batches: Sequence[tuple[TopicPartition, BatchBuilder]], told: Told) -> bool:
        """Send all of these now. False, and none is sent, when something is in the way of one of them."""
        # Whoever has put something before the client's `send` hears of every request.
        exchange = getattr(self.client.send, "__self__", None)
        if not (self._sends and isinstance(exchange, Exchange)) or self._message_accumulator._batches:
            return False
        by_node: dict[int, list[_Posted]] = {}
        for place, (target, builder) in enumerate(batches):
            node = self.client.cluster.leader_for_partition(target)
            if node in _NO_LEADER or node in self._in_flight or target in self._muted_partitions:
                return False
            by_node.setdefault(node, []).append(_Posted(place, target, builder))
        ways = {node: exchange.way(node, ProducePacket) for node in by_node}
        if None in ways.values():
            return False
        for node, posted in by_node.items():
            self._hold(node, [each.target for each in posted])
            answer = self._put(exchange, node, ways[node], posted)
            self._requests.add(answer)
            answer.add_done_callback(partial(self._answered, node, posted, told))
        return True

    async def settle(self) -> None:
        """Wait until what is under way now is answered."""
        if self._requests:
            await asyncio.wait(set(self._requests))

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
            while self._requests:  # a request that is refused is followed by the task that takes it back
                await asyncio.wait(set(self._requests))
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
        for batches in accumulator._batches.values():
            # What waits for its next try takes leave of those under way as it ends: it must be one of them.
            accumulator._pending_batches.update(batch for batch in batches if batch.retry_count)
        accumulator.fail_all(error or ProducerClosed())
        for batches in accumulator._batches.values():
            for batch in batches:
                batch._drain_waiter.exception()  # whether somebody waits for it or not

    @property
    def _sends(self) -> bool:
        return self._broken is not None and not self._broken.done()

    # -------------------------------------------------------------------------------------------- posts
    def _put(self, exchange: Exchange, node: int, way: Any, posted: Sequence[_Posted]) -> "asyncio.Future[Any]":
        numbers = self._txn_manager
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for _, target, builder in posted:
            first = numbers.sequence_number(target)
            numbers.increment_sequence_number(target, builder.record_count())
            builder._set_producer_state(numbers.producer_id, numbers.producer_epoch, first)
            topics.setdefault(target.topic, []).append((target.partition, builder._build()))
        try:
            return exchange.begin(node, way, ProducePacket(self._acks, self._request_timeout_ms, topics))
        except Exception as error:  # noqa: BLE001 - nothing can follow it, for its numbers are used up
            self._end(error)
            never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            never.cancel()
            return never

    def _answered(
        self, node: int, posted: Sequence[_Posted], told: Told, answer: "asyncio.Future[ProduceAnswer]"
    ) -> None:
        self._requests.discard(answer)
        if answer.cancelled() or self._sender_task.done():
            error = self._ended_by()
            for each in posted:
                told(each.place, error)
            return
        if answer.exception() is None:
            written = {
                (topic, partition): offset
                for topic, partitions in answer.result().topics
                for partition, refused, offset, _, _ in partitions
                if not refused
            }
            if all(each.target in written for each in posted):
                self._let_go(node, [each.target for each in posted])
                for each in posted:
                    told(each.place, written[each.target])
                self._send()
                return
        self._try_again(node, posted, told, answer)

    def _try_again(
        self, node: int, posted: Sequence[_Posted], told: Told, answer: "asyncio.Future[ProduceAnswer]"
    ) -> None:
        """Go on as if aiokafka had sent them: it knows what can be tried again, and when."""
        accumulator = self._message_accumulator
        batches: dict[TopicPartition, MessageBatch] = {}
        for place, target, builder in posted:
            batch = batches[target] = MessageBatch(target, builder, accumulator._batch_ttl, accumulator._linger_time)
            batch.drain_ready()
            accumulator._pending_batches.add(batch)
            batch.future.add_done_callback(partial(_no_longer, accumulator._pending_batches, batch))
            batch.future.add_done_callback(partial(tell, told, place))
        handler = SendProduceReqHandler(self, batches)
        handler._client = _Answered(self.client, answer)
        self._go_on(self._requested(node, handler))

    def _ended_by(self) -> KafkaError:
        broken = self._broken
        error = None if broken is None or broken.cancelled() or not broken.done() else broken.exception()
        return error if isinstance(error, KafkaError) else ProducerClosed()

    # ------------------------------------------------------------------------------- what waits its turn
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
            self._hold(node, batches)
            self._go_on(self._requested(node, SendProduceReqHandler(self, batches)))
        if unknown_leaders:
            self.client.force_metadata_update().add_done_callback(lambda _: self._send_soon())

    async def _requested(self, node: int, handler: SendProduceReqHandler) -> None:
        await handler.do(node)
        self._let_go(node, handler._batches)

    def _hold(self, node: int, targets: Iterable[TopicPartition]) -> None:
        self._in_flight.add(node)
        self._muted_partitions.update(targets)

    def _let_go(self, node: int, targets: Iterable[TopicPartition]) -> None:
        self._in_flight.discard(node)
        self._muted_partitions.difference_update(targets)

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


class _Answered:
    """In the place of a client, for one request: its answer is there already."""

    def __init__(self, client: Any, answer: "asyncio.Future[ProduceAnswer]") -> None:
        self._answer = answer
        self.force_metadata_update = client.force_metadata_update
        self._maybe_wait_metadata = client._maybe_wait_metadata

    async def send(self, _: int, __: Any) -> ProduceAnswer:
        return await self._answer


def tell(told: Told, place: int, sent: "asyncio.Future[RecordMetadata]") -> None:
    """Tell what came of a batch of aiokafka's."""
    error = sent.exception()
    told(place, sent.result().offset if error is None else error)


def _no_longer(pending: set[MessageBatch], batch: MessageBatch, _: object) -> None:
    pending.discard(batch)
