"""`connect()`: a client over Kafka, or over a gateway."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from ..adapters.kafka.appender import KafkaAppender
from ..adapters.kafka.patience import Patience
from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..adapters.otel.spans import OtelSpans
from ..api.client import Client
from ..application.clients.desk import Desk
from ..application.clients.following import FOLLOWED_FROM_START
from ..application.clients.runs import Runs
from ..application.outbox import Outbox
from ..application.partitioner import partition_of
from ..errors import InvalidConfig
from ..ports.spans import Spans
from .connection import check_partitions, is_gateway, kafka, topics
from .encryption import payloads_of
from .settings import Settings


@asynccontextmanager
async def open_runs(
    settings: Settings,
    *,
    shows_sealed: bool = False,
    follows_starts: int = FOLLOWED_FROM_START,
    spans: Spans | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Runs]:
    """The front desk over Kafka, closed after use. `shows_sealed`: see `Payloads`, `follows_starts`: see `Runs`.

    `patience` bounds what waits for the broker, which by default has a minute to take a record, and half of one else.
    `spans` is by default what the caller's process has set for OpenTelemetry, which is mostly nothing.

    Raises `LogUnavailable` without a broker, and `TopicMismatch` where BELUGA_PARTITIONS is not what the engine has.
    """
    connection = kafka(settings)
    names = topics(settings)
    payloads = payloads_of(settings, shows_sealed=shows_sealed)
    async with AsyncExitStack() as stack:
        appender = await stack.enter_async_context(KafkaAppender(connection, patience=patience))
        reader = await stack.enter_async_context(KafkaReader(connection, patience=patience))
        await check_partitions(names, reader)
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
            spans=OtelSpans() if spans is None else spans,
        )
        stack.push_async_callback(runs.close)
        yield runs


@asynccontextmanager
async def open_desk(settings: Settings, *, token: str | None = None, shows_sealed: bool = False) -> AsyncIterator[Desk]:
    """The front desk at BELUGA_BROKER, closed after use: through the log, or the gateway whose address that is.

    `token` opens the gateway (default: BELUGA_HTTP_TOKEN). Raises `InvalidConfig`, `TopicMismatch`, and
    `LogUnavailable` when nobody answers.
    """
    if not is_gateway(settings.broker):
        async with open_runs(settings, shows_sealed=shows_sealed) as runs:
            yield runs
        return
    _check_gateway(settings.broker)
    from ..adapters.http.desk import HttpDesk  # noqa: PLC0415 - a client of a broker has no use for aiohttp
    from ..adapters.http.wire import Wire  # noqa: PLC0415

    known = settings.http_token
    used = token if token is not None or known is None else known.get_secret_value()
    if used is not None:
        used = used.strip()  # what a file or a command gives ends in a newline
        if not (used.isascii() and used.isprintable()):
            raise InvalidConfig("the token for the gateway has characters that no token has: see BELUGA_HTTP_TOKEN")
    async with Wire(settings.broker, token=used) as wire:
        yield HttpDesk(wire)


def connect(address: str | None = None, *, token: str | None = None) -> Client:
    """A client of the engine at `address` (default: BELUGA_BROKER). Use with `async with`.

    An address that begins with http:// or https:// is that of a gateway, which wants `token` (default:
    BELUGA_HTTP_TOKEN); any other is that of a broker. Raises `InvalidConfig` for wrong settings at once, and on entry
    `LogUnavailable` without a broker, `TopicMismatch` where BELUGA_PARTITIONS is not what the engine has.
    """
    settings = Settings.load(**({} if address is None else {"broker": address}))
    if is_gateway(settings.broker):
        _check_gateway(settings.broker)
    elif token is not None:
        raise InvalidConfig("a token is for a gateway, whose address begins with http:// or https://")
    return Client(lambda: open_desk(settings, token=token))


def _check_gateway(address: str) -> None:
    try:
        split = urlsplit(address)
        is_one = split.hostname is not None and split.port != 0
    except ValueError:  # half of an IPv6 address, or a port that is none
        is_one = False
    if not is_one:
        raise InvalidConfig(f"{address!r} is no address of a gateway: it must be http://host:port or https://host")
