"""A gateway on a real port of the loopback, in front of an engine in this process."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from beluga_stream.adapters.http import sse
from beluga_stream.adapters.http.desk import HttpDesk
from beluga_stream.adapters.http.gateway import Gateway, GatewayOptions
from beluga_stream.adapters.http.operations import Engine
from beluga_stream.adapters.http.stream import Pace
from beluga_stream.adapters.http.tokens import Token, Tokens
from beluga_stream.adapters.http.wire import Wire
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.clients.runlist import RunList
from beluga_stream.bootstrap.gateway import served
from beluga_stream.ports.clock import Clock
from tests.unit.desks import Desk

QUICK = GatewayOptions(pace=Pace(heartbeat=5.0, unknown_after=0.1), reconnect_ms=10)
SECRET = b"s" * 32


@dataclass
class Door:
    """An open gateway. `say` asks it, `events` reads a whole stream."""

    url: str
    gateway: Gateway
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def say(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        status, told, _ = await self.whole(method, path, body, **headers)
        return status, told

    async def whole(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, json=body, headers=sent) as response:
            data = await response.read()
            return response.status, json.loads(data) if data else None, response.headers

    async def streams(self, count: int) -> None:
        """Wait until so many streams are open."""
        while self.gateway.allowance.streams != count:  # noqa: ASYNC110 - the gateway tells nobody
            await asyncio.sleep(0.01)

    async def events(self, run: str, query: str = "", **headers: str) -> list[sse.Sent]:
        """Everything up to the end of the connection."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        parser = sse.Parser()
        async with self.session.get(f"{self.url}/v1/runs/{run}/events{query}", headers=sent) as response:
            assert response.status == 200, await response.text()
            return [event async for data in response.content.iter_any() for event in parser.feed(data)]


def listening(port: int = 0) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    found.listen()
    found.settimeout(0)
    return found


@asynccontextmanager
async def opened(
    desk: Desk,
    *,
    tokens: Iterable[Token] = (),
    options: GatewayOptions = QUICK,
    publishable: Iterable[str] = (),
    clock: Clock | None = None,
    port: int = 0,
) -> AsyncGenerator[Door, None]:
    """A gateway to this engine, with a desk of its own."""
    async with AsyncExitStack() as stack:
        runs = await stack.enter_async_context(desk.client())
        catalog = Catalog(desk.log, desk.topics)
        listing = RunList(desk.log, desk.topics.runs)
        stack.push_async_callback(listing.close)
        engine = Engine(runs, catalog, desk.log, desk.log, listing, frozenset(publishable))
        gateway = Gateway(engine, Tokens(tokens, clock=clock or SystemClock(), stream_secret=SECRET), options)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        taken = stack.enter_context(closing(listening(port)))
        url, _ = await stack.enter_async_context(served(gateway, taken))
        yield Door(url, gateway, session)


@asynccontextmanager
async def desk_at(url: str, token: str | None = None) -> AsyncGenerator[HttpDesk, None]:
    async with Wire(url, token=token, patience=10) as wire:
        yield HttpDesk(wire)
