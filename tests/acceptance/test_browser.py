"""A page with `EventSource` in a real Chromium, while its connection is cut and the gateway restarts."""

import asyncio
import contextlib
import http.server
import re
import threading
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance import chromium
from tests.engine import running
from tests.gateway import GatewayProcess

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="there is no Chromium on this machine")

_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "http.md"


class _Cuttable:
    """A way to the gateway that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0
        self._came = asyncio.Event()

    async def connected(self, times: int) -> None:
        """Wait until the gateway has been reached so often."""
        while self.connections < times:
            self._came.clear()
            await self._came.wait()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, out = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(out)
            self.connections += 1
            self._came.set()
            await asyncio.gather(_pass(reader, out), _pass(there, writer))
            self._writers.discard(out)
        except OSError:
            pass  # the gateway is away
        finally:
            self._writers.discard(writer)
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def site(folder: Path) -> Iterator[str]:
    """The page of docs/http.md, served from an origin of its own."""
    (page,) = re.findall(r"^```html\n(.*?)^```$", _DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "page.html").write_text(page)
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        return


@contextlib.asynccontextmanager
async def way_to(port: int) -> AsyncGenerator[tuple[str, _Cuttable], None]:
    way = _Cuttable(port)
    server = await asyncio.start_server(way, "127.0.0.1", 0)
    async with server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", way
        finally:
            way.cut()


async def words_on(page: chromium.Page, count: int) -> None:
    """Wait until so many words are on the page."""
    condition = f"document.getElementById('text').textContent.split(' ').length > {count}"
    await page.evaluate(f"new Promise(done => setInterval(() => {{ if ({condition}) done(); }}, 10))")


async def test_the_text_on_a_page_is_whole_after_a_cut_and_a_restart(broker: str, tmp_path: Path) -> None:
    with running(broker, tmp_path, agents="tests.acceptance.tellers", groups=2) as engine, site(tmp_path) as pages:
        gateway = GatewayProcess(engine, origins=pages)
        gateway.start()
        try:
            async with aiohttp.ClientSession() as session:
                url = f"{gateway.url}/v1/graphs/held/runs"
                async with session.post(url, json={"input": 40}) as answer:
                    run = (await answer.json())["run"]
            async with way_to(gateway.port) as (address, way):
                events = f"{address}/v1/runs/{run}/events"
                async with chromium.opened(f"{pages}/page.html?events={events}", tmp_path / "browser") as page:
                    await words_on(page, 10)
                    way.cut()
                    await way.connected(2)
                    await words_on(page, 30)
                    await asyncio.to_thread(gateway.stop)
                    await asyncio.to_thread(gateway.start)
                    async with aiohttp.ClientSession() as session:
                        url = f"{gateway.url}/v1/runs/{run}/signals/on"
                        async with session.post(url, json={"value": 80, "id": "1"}) as answer:
                            assert answer.ok, await answer.text()
                    await page.evaluate(
                        "new Promise(ok => setInterval(() => { if (document.title == 'done') ok(); }, 10))"
                    )
                    text = await page.evaluate("document.getElementById('text').textContent")
        finally:
            gateway.stop()
    assert text.split() == [f"word-{number}" for number in range(80)]
    assert way.connections >= 3, "the page could not have the rest otherwise"
