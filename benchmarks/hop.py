"""One process of the yardstick: a worker or a coordinator that does nothing but pass records on.

    python -m benchmarks.hop BROKER SOURCE TARGET
    python -m benchmarks.hop BROKER SOURCE TARGET LOG AFTER

With a log each record is written there first, and acknowledged; and its value counts how often it still goes to
the target, before it goes to `AFTER`.
"""

import sys

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from beluga_stream.adapters.kafka.batches import send_batches
from beluga_stream.ports.log import Outgoing

PARTITIONS = 4
VALUE_BYTES = 300


def counting(number: int) -> bytes:
    """A value that counts."""
    return str(number).rjust(VALUE_BYTES).encode()


async def hop(broker: str, source: str, target: str, log: str | None = None, after: str = "") -> None:
    """Go on until killed. Prints a line once it reads."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True, linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, fetch_max_wait_ms=50)
    await producer.start()
    await consumer.start()
    partitions = [TopicPartition(source, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    print("ready", flush=True)
    while True:
        for found in (await consumer.getmany(timeout_ms=1000)).values():
            for record in found:
                value, goes_to = record.value, target
                if log is not None:
                    await send_batches(producer, [Outgoing(log, record.key, value, partition=record.partition)])
                    left = int(value) - 1
                    value, goes_to = counting(left), target if left else after
                await send_batches(producer, [Outgoing(goes_to, record.key, value, partition=record.partition)])


if __name__ == "__main__":
    uvloop.run(hop(*sys.argv[1:]))
