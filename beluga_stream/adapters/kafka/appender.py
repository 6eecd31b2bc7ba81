"""Appending records: one idempotent producer for everything a process sends."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from ...bounds import within
from ...errors import LogUnavailable, RecordTooLarge, TopicMissing
from ...ports.log import Outgoing, Position
from .batches import MAX_RECORD_BYTES, Outcome, begin, check_sizes, placed, positions_of
from .connection import KafkaConnection
from .patience import Patience, Wait
from .producer import PatientProducer
from .refusal import no_answer, refusal, why_unreachable

log = logging.getLogger(__name__)


_MOST_QUEUED = 50_000


class _Waiting:
    """One append that waits for its records to be sent, by the producer that placed them."""

    __slots__ = ("future", "producer", "records")

    def __init__(self, producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
        self.producer = producer
        self.records = records
        self.future: asyncio.Future[Sequence[Position]] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def resolve(self, outcomes: Sequence[Outcome]) -> bool:
        """Wake the append with its positions, or with its first error; False if there was one."""
        try:
            positions = positions_of(outcomes)
        except KafkaError as error:
            self.fail(error)
            return False
        if not self.future.done():
            self.future.set_result(positions)
        return True


class KafkaAppender:
    """Port `Appender` on Kafka: acks=all, idempotent, linger 0. Start it before use.

    `max_record_bytes` bounds one record. `timeout` (seconds), or `patience` where it is given, bounds how long one
    `append` waits for its turn, and how long for the broker.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        max_record_bytes: int = MAX_RECORD_BYTES,
        timeout: float = 60.0,
        patience: Patience | None = None,
    ) -> None:
        self._connection = connection
        self._max_record_bytes = max_record_bytes
        self._patience = patience or Patience(connection.where, timeout, insists=False)
        self._timeout = self._patience.seconds
        self._producer: AIOKafkaProducer | None = None
        self._started = False
        self._renewing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._queue: list[_Waiting] = []
        self._queued = 0
        self._room = asyncio.Event()
        self._quiet = asyncio.Event()
        """Set while nothing is under way."""
        self._quiet.set()

    async def start(self) -> None:
        """Connect. Raises `LogUnavailable` when no broker answers in time."""
        try:
            self._producer = await self._patience.insist("connecting", self._connect)
            self._started = True
        except (KafkaError, TimeoutError, OSError) as error:
            denied = await why_unreachable(self._connection)
            if denied is None and isinstance(error, KafkaConnectionError | TimeoutError | OSError):
                raise no_answer(self._connection, error) from error
            what = f"cannot connect to Kafka at {self._connection.where}"
            raise denied or refusal(self._connection, what, error, "Write on any topic") from error

    async def stop(self) -> None:
        """Send what is under way, within the timeout, and disconnect."""
        with suppress(TimeoutError):
            async with within(self._timeout):
                await self._quiet.wait()
        producer, self._producer, self._started = self._producer, None, False
        if producer is not None:
            await self._retire(producer)
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=self._timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """See the port. After `LogUnavailable` the records may or may not have been written.

        Raises `TopicMissing` when a topic stays unknown for the request timeout.
        """
        if not records:
            return ()
        check_sizes(records, self._max_record_bytes)
        try:
            producer = self._producer
            if producer is None or self._queued >= _MOST_QUEUED or any(each.partition is None for each in records):
                async with within(self._timeout):
                    producer, records = await self._prepared(records)
            waiting = _Waiting(producer, tuple(records))
            self._enqueue(waiting)
            return await self._patience.answer("writing", waiting.future)
        except MessageSizeTooLargeError as error:
            raise RecordTooLarge(f"the broker refused a record as too large: {error}") from error
        except UnknownTopicOrPartitionError as error:
            topics = ", ".join(sorted({record.topic for record in records}))
            raise TopicMissing(f"one of these topics does not exist: {topics}") from error
        except (KafkaError, TimeoutError, OSError) as error:
            what = f"{len(records)} records were not confirmed within {self._timeout:g} s"
            needs = f"Write on one of these topics: {', '.join(sorted({record.topic for record in records}))}"
            raise refusal(self._connection, what, error, needs) from error

    async def _prepared(self, records: Sequence[Outgoing]) -> tuple[AIOKafkaProducer, Sequence[Outgoing]]:
        """Who writes them, and each with its partition, once there is room for them."""
        producer = self._producer or await self._renew()
        found = await placed(producer, records)
        while self._queued >= _MOST_QUEUED:
            self._room.clear()
            await self._room.wait()
        return producer, found

    def _enqueue(self, waiting: "_Waiting") -> None:
        self._queue.append(waiting)
        self._queued += len(waiting.records)
        if self._quiet.is_set():
            self._quiet.clear()
            # After this turn of the loop: by then all that is appended together is there.
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send all that is queued in one go; `_flushed` goes on with what has come meanwhile.

        aiokafka has one batch of a partition under way at a time: appends that come meanwhile would
        each wait for a round trip of their own.
        """
        group, self._queue = self._queue, []
        producer = group[0].producer
        self._queue = [waiting for waiting in group if waiting.producer is not producer]
        group = [waiting for waiting in group if waiting.producer is producer]
        self._queued = sum(len(waiting.records) for waiting in self._queue)
        self._room.set()
        loop = asyncio.get_running_loop()
        try:
            sending = begin(producer, [record for waiting in group for record in waiting.records], now=True)
        except Exception as error:  # noqa: BLE001 - it is told to all that wait, and the queue goes on
            sending = loop.create_future()
            sending.set_exception(error)
        wait = self._patience.begin("writing", sending.cancel)
        sending.add_done_callback(partial(self._flushed, producer, group, wait))

    def _flushed(
        self,
        producer: AIOKafkaProducer,
        group: Sequence["_Waiting"],
        wait: Wait,
        sent: "asyncio.Future[list[Outcome]]",
    ) -> None:
        error = TimeoutError() if sent.cancelled() else sent.exception()
        self._patience.over(wait, answered=error is None)
        if error is not None:
            self._give_up(producer)
            for waiting in group:
                waiting.fail(error)
        else:
            outcomes, start = sent.result(), 0
            for waiting in group:
                end = start + len(waiting.records)
                if not waiting.resolve(outcomes[start:end]):
                    self._give_up(producer)
                start = end
        if self._queue:
            self._flush()
        else:
            self._quiet.set()

    def _give_up(self, producer: AIOKafkaProducer) -> None:
        # A failed batch leaves a hole in an idempotent producer's sequence numbers, and every later
        # batch would be refused: the next append starts with a new producer.
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(self._retire(producer))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _renew(self) -> AIOKafkaProducer:
        async with self._renewing:
            if not self._started:  # nobody would stop the producer
                raise LogUnavailable("the appender is not started")
            if self._producer is None:
                self._producer = await self._patience.insist("connecting", self._connect)
            return self._producer

    async def _connect(self) -> AIOKafkaProducer:
        producer = PatientProducer(
            self._connection, "appender", patience=self._timeout, max_record_bytes=self._max_record_bytes
        )
        try:
            await producer.start()
        except BaseException:
            await self._retire(producer)
            raise
        return producer

    async def _retire(self, producer: AIOKafkaProducer) -> None:
        try:
            async with within(min(self._timeout, 10.0)):
                await producer.stop()
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("a producer did not stop cleanly: %r", error, extra={"action": "appender.retire"})
