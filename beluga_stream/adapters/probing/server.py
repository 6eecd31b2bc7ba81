"""`/live`, `/ready`, `/health` and `/metrics` of one process.

It answers on the loop that does the work: a process whose loop stands still is not alive.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from ...application.health import Health
from ...errors import InvalidConfig

log = logging.getLogger("beluga_stream.probe")

_CLOSE_SECONDS = 1.0
_TEXT_FORMAT = "text/plain; version=1.0.0; charset=utf-8"

Exposition = Callable[[], bytes]


@asynccontextmanager
async def probe(address: str, health: Health, exposition: Exposition | None) -> AsyncGenerator[int, None]:
    """Answer at `port` of 127.0.0.1, or at `host:port`, for as long as the block lasts; gives the port.

    Raises `InvalidConfig` for an address that cannot be had.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    runner = web.AppRunner(_application(health, exposition), access_log=None, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, int(port)).start()
        except (OSError, OverflowError) as error:
            told = f"BELUGA_PROBE_ADDRESS={address} cannot be listened on: {error}; give each process its own"
            raise InvalidConfig(told) from error
        bound = int(runner.addresses[0][1])
        log.info("probes at http://%s:%d", host, bound, extra={"action": "probe.listening", "port": bound})
        yield bound
    finally:
        await runner.cleanup()


def _application(health: Health, exposition: Exposition | None) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        is_ready, told = health.ready()
        return _json(200 if is_ready else 503, told)

    async def report(_: web.Request) -> web.Response:
        is_well, told = await health.report()
        return _json(200 if is_well else 503, told)

    async def metrics(_: web.Request) -> web.Response:
        assert exposition is not None, "without it there is no such route"
        # In a thread: a process of many graphs has thousands of series.
        body = await asyncio.to_thread(exposition)
        return web.Response(body=body, headers={"Content-Type": _TEXT_FORMAT})

    app = web.Application()
    app.add_routes([web.get("/live", live), web.get("/ready", ready), web.get("/health", report)])
    if exposition is not None:
        app.add_routes([web.get("/metrics", metrics)])
    return app


def _json(status: int, told: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(told), content_type="application/json")
