"""The HTTP gateway as a process: what it needs from the settings, and its server from start to orderly stop."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec

from ..adapters.files.blobs import FileBlobs
from ..adapters.kafka.admin import KafkaTopics
from ..adapters.kafka.appender import KafkaAppender
from ..adapters.kafka.patience import Patience
from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..application.catalog import Catalog
from ..application.clients.runlist import RunList
from ..application.health import Health
from ..errors import AccessDenied, InvalidConfig, LogUnavailable
from ..ports.spans import NO_SPANS
from .client import open_runs
from .connection import kafka, topics
from .observing import Standing
from .preparation import check_rights
from .rights import Uses
from .settings import Settings
from .topic_files import load_topics

if find_spec("starlette") is None or find_spec("uvicorn") is None:
    raise InvalidConfig("the HTTP gateway needs Starlette and uvicorn: pip install 'beluga-stream[http]'")

import uvicorn

from ..adapters.http.allowance import Limits
from ..adapters.http.gateway import Gateway, GatewayOptions
from ..adapters.http.operations import Engine, publishable
from ..adapters.http.stream import Pace
from ..adapters.http.tokens import Token, Tokens, parse_tokens

log = logging.getLogger("beluga_stream.gateway")

_CLOSE_SECONDS = 10
"""Most time for readers to take their last event when the gateway stops."""

_LOOK_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
"""How often the broker is asked whether it is there, and how often while it is away."""

_SECRET_LETTERS = 32
_LAST_PORT = 65_535


@asynccontextmanager
async def open_gateway(settings: Settings, standing: Standing | None = None) -> AsyncIterator[Gateway]:
    """A gateway to the engine of these settings. Raises `InvalidConfig`, `LogUnavailable` and `AccessDenied`."""
    tokens = tokens_of(settings)
    declared = [spec.name for spec in load_topics(settings)]
    connection = kafka(settings)
    await check_rights("gateway", settings, connection, Uses())
    # Whoever calls waits meanwhile, and may come again: so it is short, and what is refused is not tried again.
    patience = Patience(connection.where, settings.http_broker_seconds, insists=False)
    async with AsyncExitStack() as stack:
        spans = NO_SPANS if standing is None else standing.observed.spans
        runs = await stack.enter_async_context(
            open_runs(settings, follows_starts=1_000, spans=spans, patience=patience)
        )
        reader = await stack.enter_async_context(KafkaReader(connection, patience=patience))
        appender = await stack.enter_async_context(KafkaAppender(connection, patience=patience))
        catalog = Catalog(reader, topics(settings))
        await catalog.refresh()
        listing = RunList(reader, topics(settings).runs)
        stack.push_async_callback(listing.close)
        engine = Engine(runs, catalog, appender, reader, listing, publishable(declared, settings.prefix))
        health = Health() if standing is None or standing.health is None else standing.health
        health.dependencies = {"broker": reader.check, "blobs": FileBlobs(settings.blobs).check}
        yield Gateway(engine, tokens, options_of(settings), spans=spans, health=health)


async def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until it is cancelled; then tell readers to connect again, and stop within a bound.

    `ready` is called with the address once it listens. Raises `InvalidConfig` for an address that cannot be had, and
    `LogUnavailable` when no broker answers until patience ends, at the start or later.
    """
    with listener(settings) as listening:
        standing = Standing(settings, f"{settings.prefix}-gateway")
        connection = kafka(settings)
        patience = Patience(connection.where, settings.broker_patience_seconds)
        async with (
            standing.open(),
            KafkaTopics(connection, patience=patience) as broker,
            open_gateway(settings, standing) as gateway,
            served(gateway, listening) as (url, serving),
        ):
            ready(url)
            watching = asyncio.create_task(watch(broker.describe, patience), name="beluga-broker")
            try:
                done, _ = await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
                for ended in done:
                    ended.result()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


async def watch(ask: Callable[[Sequence[str]], Awaitable[object]], patience: Patience) -> None:
    """Ask the broker of nothing now and then, since a gateway that nobody calls asks it nothing.

    Raises `LogUnavailable` when it has not answered until patience ends.
    """
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            async with patience.waiting("asking whether it is there"):
                await _answered(ask)
        except TimeoutError as error:
            silent = f"Kafka at {patience.where} has not answered for {patience.seconds:g} s"
            raise LogUnavailable(silent) from error


async def _answered(ask: Callable[[Sequence[str]], Awaitable[object]]) -> None:
    """Ask until there is an answer; a refusal is one."""
    with suppress(AccessDenied):
        while True:
            try:
                await ask([])
            except LogUnavailable:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return


@asynccontextmanager
async def served(gateway: Gateway, listening: socket.socket) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """Serve it on a socket for as long as the block lasts; gives the address, and the server's task."""
    server = _Server(
        uvicorn.Config(
            gateway.app,
            access_log=False,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        host, port = listening.getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}", serving
    finally:
        gateway.close()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=_CLOSE_SECONDS + 5)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


class _Server(uvicorn.Server):
    """Signals are for whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def listener(settings: Settings) -> Iterator[socket.socket]:
    """The socket to serve on. Raises `InvalidConfig` for one that others reach when no tokens keep them out."""
    host, _, port = settings.http_address.rpartition(":")
    host = host.strip("[]")
    if not is_loopback(host) and not tokens_of(settings).wanted:
        raise InvalidConfig(
            f"BELUGA_HTTP_ADDRESS={settings.http_address} can be reached from elsewhere: set BELUGA_HTTP_TOKEN_FILE "
            f"(`beluga tokens new` makes a token), or listen on 127.0.0.1"
        )
    if int(port) > _LAST_PORT:
        raise InvalidConfig(f"BELUGA_HTTP_ADDRESS={settings.http_address} is no address: ports end at {_LAST_PORT}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InvalidConfig(f"BELUGA_HTTP_ADDRESS={settings.http_address} is no address: {error}") from error
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A connection that takes nothing would otherwise keep what was written to it until the reader goes.
            stall_ms = int(settings.http_stall_seconds * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
        try:
            listening.bind(address)
            listening.listen(2_048)
        except OSError as error:
            raise InvalidConfig(f"cannot listen on {settings.http_address}: {error.strerror}") from error
        listening.settimeout(0)
        yield listening


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tokens_of(settings: Settings) -> Tokens:
    """The tokens of these settings. Raises `InvalidConfig`."""
    secret = settings.http_stream_secret
    if secret is not None and len(secret.get_secret_value()) < _SECRET_LETTERS:
        raise InvalidConfig(f"BELUGA_HTTP_STREAM_SECRET is too short: it must have {_SECRET_LETTERS} letters or more")
    return Tokens(
        _tokens(settings),
        clock=SystemClock(),
        stream_secret=None if secret is None else secret.get_secret_value().encode(),
    )


def options_of(settings: Settings) -> GatewayOptions:
    """How the gateway serves."""
    return GatewayOptions(
        origins=settings.http_origins,
        limits=Limits(
            body_bytes=settings.http_body_bytes,
            rate=settings.http_requests_per_second,
            streams_each=settings.http_streams_per_caller,
            streams=settings.http_streams,
        ),
        pace=Pace(heartbeat=settings.http_heartbeat_seconds),
        stream_token_seconds=settings.http_stream_token_seconds,
        stall_seconds=settings.http_stall_seconds,
    )


def _tokens(settings: Settings) -> tuple[Token, ...]:
    given, file = settings.http_tokens, settings.http_token_file
    if given is not None and file is not None:
        raise InvalidConfig("BELUGA_HTTP_TOKENS and BELUGA_HTTP_TOKEN_FILE are both set: keep the file")
    if given is not None:
        found = parse_tokens(given.get_secret_value().replace(",", "\n"), "BELUGA_HTTP_TOKENS")
    elif file is not None:
        try:
            found = parse_tokens(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"BELUGA_HTTP_TOKEN_FILE={file} cannot be read: {error}") from error
    else:
        return ()
    if not found:
        raise InvalidConfig("the gateway is to take tokens, and there are none: `beluga tokens new` makes one")
    return found
