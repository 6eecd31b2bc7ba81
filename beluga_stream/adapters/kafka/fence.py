"""A producer that Kafka fences: whoever initialised an id last is the only one that can write.

It takes producer id and epoch from InitProducerId with a transactional id, but sends plain
batches: fencing without transactions, which costs one request at start and nothing later.
"""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)

from ...bounds import within
from ...errors import Fenced, InvalidConfig, LogUnavailable
from ...ports.log import Outgoing, Position
from .batches import MAX_RECORD_BYTES, begin, check_sizes, placed, positions_of
from .connection import KafkaConnection
from .courier import Courier
from .patience import Patience
from .producer import PatientProducer
from .refusal import refusal
from .renewal import renew

log = logging.getLogger(__name__)

_PROBE_SECONDS = 15.0


class FencedProducer:
    """Writes as the owner of `fence_id`, and refuses all that owned it before.

    Once it has appended a record to a partition, an instance that was started earlier is refused there.

    With `fencing=False` it is an ordinary idempotent producer, for brokers that cannot fence.
    `timeout` (seconds), or `patience` where it is given, bounds start and every append, and finding where it goes.
    Those with one `courier` send what they have for one broker together.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        fence_id: str,
        *,
        fencing: bool = True,
        timeout: float = 30.0,
        patience: Patience | None = None,
        courier: Courier | None = None,
    ) -> None:
        self._connection = connection
        self._courier = courier
        self._fence_id = fence_id
        self._writing = f"writing as the owner of {fence_id}"
        self._fencing = fencing
        self._patience = patience or Patience(connection.where, timeout, insists=False)
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Initialise the id. Raises `LogUnavailable` when the broker does not grant it in time."""
        try:
            self._producer = await self._patience.insist(f"becoming the owner of {self._fence_id}", self._initialised)
        except (KafkaError, TimeoutError, OSError) as error:
            needs = f"Write on transactional-id {self._fence_id}"
            raise refusal(self._connection, f"cannot become the owner of {self._fence_id}", error, needs) from error

    async def _initialised(self) -> AIOKafkaProducer:
        producer = PatientProducer(
            self._connection,
            self._fence_id,
            patience=self._patience.seconds,
            max_record_bytes=MAX_RECORD_BYTES,
            courier=self._courier,
            transactional_id=self._fence_id if self._fencing else None,
        )
        try:
            await producer.start()
        except BaseException:
            await _stop(producer)
            raise
        # The only place that leans on aiokafka's private state (contract test: test_kafka_internals).
        # The id has done its work with InitProducerId; without it, batches are plain ones that still
        # carry producer id and epoch, which is what the broker checks.
        producer._txn_manager.transactional_id = None  # noqa: SLF001
        return producer

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        """Append all in order and return their positions when durable.

        Raises `Fenced` when another instance has initialised the id since, `RecordTooLarge` before
        anything was sent, `InvalidConfig` when the topic takes no batch of the engine's length, and `LogUnavailable`
        when the outcome is not known.
        """
        if self._producer is None:
            raise LogUnavailable(f"the producer of {self._fence_id} is not started")
        check_sizes(records, MAX_RECORD_BYTES)
        try:
            if any(record.partition is None for record in records):
                async with self._patience.waiting(self._writing):
                    records = await placed(self._producer, records)
            sending = begin(self._producer, records, now=True)
            outcomes = await self._patience.answer(self._writing, sending)
            positions = positions_of(outcomes)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced(f"another process owns {self._fence_id} now", fence_id=self._fence_id) from error
        except MessageSizeTooLargeError as error:
            # Shorter than what `check_sizes` has let pass: to try again would end the next process, too.
            raise InvalidConfig(
                f"the broker takes no batch of the engine's length for {records[0].topic}: raise the topic's "
                f"max.message.bytes; `beluga doctor` has the command",
                topic=records[0].topic,
            ) from error
        except (KafkaError, TimeoutError, OSError) as error:
            what = f"{self._fence_id} could not be written within {self._patience.seconds:g} s"
            raise refusal(self._connection, what, error) from error
        return positions

    async def renew(self, group: str) -> None:
        """Have the broker remember the id, and with it the fence; it forgets one that is in no transaction for a week.

        `group` is a consumer group that this may read. Raises `Fenced` when another instance has initialised the id
        since, or the broker has forgotten it; and `LogUnavailable` when the outcome is not known.
        """
        if self._producer is None or not self._fencing:
            return
        client, manager = self._producer.client, self._producer._txn_manager  # noqa: SLF001 - as above
        what = f"renewing {self._fence_id}"
        try:
            await self._patience.insist(
                what, lambda: renew(client, self._fence_id, manager.producer_id, manager.producer_epoch, group)
            )
        except (ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping) as error:
            raise Fenced(f"another process owns {self._fence_id} now", fence_id=self._fence_id) from error
        except (KafkaError, TimeoutError, OSError) as error:
            raise refusal(self._connection, f"{what} did not go", error, f"Read on group {group}") from error

    async def stop(self) -> None:
        """Disconnect, within a bound. The id stays initialised until another instance takes it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with within(5.0):
            await producer.stop()
    except (KafkaError, TimeoutError, OSError) as error:
        log.warning("a fenced producer did not stop cleanly: %r", error, extra={"action": "fence.stop"})


async def broker_fences(
    connection: KafkaConnection, fence_id: str, probe: Outgoing, patience: Patience | None = None
) -> bool:
    """Whether this broker really fences: a first producer must be refused after a second one started.

    `probe` is a record that both try to write; it must do no harm in the log.
    Takes the id over from everybody, so call it only when about to own it.

    Raises `LogUnavailable` when the broker does not answer: that says nothing of its fence.
    """
    patience = patience or Patience(connection.where, _PROBE_SECONDS, insists=False)
    first = FencedProducer(connection, fence_id, patience=patience)
    second = FencedProducer(connection, fence_id, patience=patience)
    try:
        await first.start()
        await second.start()
        # A partition learns of the new epoch by a record that carries it, so the second writes before.
        await second.append([probe])
        await first.append([probe])
    except Fenced:
        return True
    except LogUnavailable as error:
        if isinstance(error.__cause__, TimeoutError | OSError | KafkaConnectionError):
            raise
        log.warning("the broker does not grant producer ids for fencing: %s", error, extra={"action": "fence.probe"})
        return False
    finally:
        await asyncio.gather(first.stop(), second.stop())
    return False
