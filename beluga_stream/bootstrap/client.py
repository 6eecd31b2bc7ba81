"""`connect()`: a client over Kafka."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from ..adapters.kafka.appender import KafkaAppender
from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..api.client import Client
from ..application.outbox import Outbox
from ..application.partitioner import partition_of
from ..application.runs import FOLLOWED_FROM_START, Runs
from .connection import kafka, topics
from .encryption import payloads_of
from .settings import Settings


@asynccontextmanager
async def open_runs(
    settings: Settings, *, shows_sealed: bool = False, follows_starts: int = FOLLOWED_FROM_START
) -> AsyncIterator[Runs]:
    """The front desk over Kafka, closed after use. `shows_sealed`: see `Payloads`, `follows_starts`: see `Runs`.

    Raises `LogUnavailable` without a broker.
    """
    connection = kafka(settings)
    names = topics(settings)
    payloads = payloads_of(settings, shows_sealed=shows_sealed)
    async with AsyncExitStack() as stack:
        appender = await stack.enter_async_context(KafkaAppender(connection))
        reader = await stack.enter_async_context(KafkaReader(connection))
        outbox = Outbox(appender, goes_on=True)
        stack.push_async_callback(outbox.close)
        runs = Runs(
            topics=names,
            appender=outbox,
            reader=reader,
            payloads=payloads,
            clock=SystemClock(),
            partition=lambda run: partition_of(run.encode(), names.partitions),
            follows_starts=follows_starts,
        )
        stack.push_async_callback(runs.close)
        yield runs


def connect(address: str | None = None) -> Client:
    """A client of the engine whose broker is at `address` (default: BELUGA_BROKER). Use with `async with`.

    Raises `InvalidConfig` for wrong settings at once, and `LogUnavailable` on entry without a broker.
    """
    settings = Settings.load(**({} if address is None else {"broker": address}))
    return Client(lambda: open_runs(settings))
