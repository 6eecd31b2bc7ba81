"""Gateways of a simulated cluster, and the wire to them: answers are lost, streams are cut, gateways die in between.

All that a client over HTTP has is real but for the connection: the application is called as a server would call it.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import ClientConnectionError

from beluga_stream.adapters.http.allowance import Limits
from beluga_stream.adapters.http.desk import HttpDesk
from beluga_stream.adapters.http.gateway import Gateway, GatewayOptions
from beluga_stream.adapters.http.operations import Engine
from beluga_stream.adapters.http.tokens import Tokens
from beluga_stream.adapters.http.wire import Wire
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.clients.runlist import RunList
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.testing.cluster import Cluster
from beluga_stream.testing.faulty_ports import FaultyAppender, FaultyReader
from beluga_stream.testing.process import Process

_LOST = 0.04
_CUT = 0.02
_DIES = 0.01
_OPTIONS = GatewayOptions(limits=Limits(rate=1e6))
_CHUNKS_UNDER_WAY = 8


class Gateways:
    """The gateway of a cluster; one that has died is replaced at the next request."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._process: Process | None = None
        self.deaths = 0

    def at_hand(self) -> tuple[Process, Gateway]:
        """One that lives."""
        if self._process is None or not self._process.alive:
            self._process = Process("gateway", self.faults, tell=lambda what: self._cluster.story.tell("gateway", what))
            self._gateway = self._made(self._process)
        return self._process, self._gateway

    @property
    def faults(self) -> Any:
        """What may go wrong in this cluster."""
        return self._cluster.faults

    def harm(self) -> None:
        """Let it die now and then."""
        if self._process is not None and self._process.alive and self.faults.strikes(_DIES):
            self.deaths += 1
            self._process.kill()

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()

    def _made(self, process: Process) -> Gateway:
        cluster = self._cluster
        appender, reader = FaultyAppender(cluster.log, process, cluster.witness), FaultyReader(cluster.log, process)
        runs = Runs(
            topics=cluster.topics,
            appender=appender,
            reader=reader,
            payloads=Payloads(cluster.blobs, inline_limit_bytes=cluster.options.inline_limit_bytes),
            clock=process,
            partition=lambda run: partition_of(run.encode(), cluster.topics.partitions),
            new_id=cluster.new_id,
        )
        listing = RunList(reader, cluster.topics.runs)
        engine = Engine(runs, Catalog(reader, cluster.topics), appender, reader, listing)
        return Gateway(engine, Tokens((), clock=process, stream_secret=b"s" * 32), _OPTIONS)


class SimulatedWire(Wire):
    """The wire of one client."""

    def __init__(self, gateways: Gateways) -> None:
        super().__init__("http://localhost", patience=3600)
        self._gateways = gateways

    async def __aenter__(self) -> Self:
        self._session: Any = _Session(self._gateways)
        return self


@asynccontextmanager
async def desk_of(cluster: Cluster) -> AsyncGenerator[tuple[HttpDesk, Gateways], None]:
    """What a client over HTTP talks to."""
    gateways = Gateways(cluster)
    try:
        async with SimulatedWire(gateways) as wire:
            yield HttpDesk(wire, new_id=cluster.new_id), gateways
    finally:
        await gateways.close()


class _Session:
    """Stands for aiohttp's, as far as `Wire` goes."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways

    def get(self, url: Any, **options: Any) -> Any:
        return self.request("GET", url, **options)

    @asynccontextmanager
    async def request(
        self, method: str, url: Any, *, data: bytes | None = None, headers: Mapping[str, str], **_: Any
    ) -> AsyncIterator["_Response"]:
        faults = self._gateways.faults
        await asyncio.sleep(faults.pause())
        if faults.strikes(_LOST):
            raise ClientConnectionError("the request was lost (simulated)")
        process, gateway = self._gateways.at_hand()
        response = _Response(self._gateways)
        task = process.spawn(response.ask(gateway, method, str(url), headers, data or b""), "request")
        task.add_done_callback(response.over)
        try:
            await response.begun()
            yield response
        finally:
            response.leave()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Nothing: each connection ends with its request."""


class _Response:
    """The answer to one request: what the application sends, until it is over or the connection breaks."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = self
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS_UNDER_WAY)
        self._started = asyncio.Event()
        self._left = asyncio.Event()
        self._moved = asyncio.Event()
        """There is more to read, or there never will be."""
        self._whole = False
        self._error: BaseException | None = None

    async def ask(self, gateway: Gateway, method: str, url: str, headers: Mapping[str, str], data: bytes) -> None:
        """Let the application answer."""
        parts = urlsplit(url)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"localhost"), *((n.lower().encode(), v.encode()) for n, v in headers.items())],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        asked = iter([{"type": "http.request", "body": data, "more_body": False}])

        async def receive() -> Any:
            told = next(asked, None)
            if told is None:
                await self._left.wait()
                return {"type": "http.disconnect"}
            return told

        await gateway.app(scope, receive, self._send)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {n.decode().title(): v.decode() for n, v in message["headers"]}
            self._started.set()
            return
        if message.get("body"):
            await self._chunks.put(message["body"])
        if not message.get("more_body"):
            self._whole = True
        self._moved.set()

    def over(self, task: "asyncio.Task[None]") -> None:
        """The application has ended, or its process has."""
        self._error = None if task.cancelled() else task.exception()
        self._started.set()
        self._left.set()
        self._moved.set()

    async def begun(self) -> None:
        """Wait for the head. Raises when the gateway dies first."""
        await self._started.wait()
        if self._error is not None:
            raise self._error
        if self.status == 0:
            raise ClientConnectionError("the gateway is gone (simulated)")

    def leave(self) -> None:
        """The client has gone."""
        self._left.set()
        self._moved.set()
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._chunks.get_nowait()

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """What comes, in whatever pieces."""
        chance: random.Random = self._gateways.faults.random
        while not (self._whole and self._chunks.empty()):
            chunk = await self._next()
            at = chance.randint(0, len(chunk))
            for piece in (chunk[:at], chunk[at:]):
                if self._gateways.faults.strikes(_CUT):
                    raise ClientConnectionError("the connection was cut (simulated)")
                yield piece
            self._gateways.harm()

    async def read(self) -> bytes:
        """All of it."""
        return b"".join([piece async for piece in self.iter_any()])

    async def _next(self) -> bytes:
        while self._chunks.empty():
            if self._whole:
                return b""
            if self._left.is_set():
                raise ClientConnectionError("the gateway is gone (simulated)")
            self._moved.clear()
            await self._moved.wait()
        return self._chunks.get_nowait() or b""
