"""A real Chromium without a window, told by its DevTools protocol to open a page and asked what is on it."""

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_START_SECONDS = 60.0


def program() -> str | None:
    """Where it is; None when this machine has none."""
    return next((found for name in _NAMES if (found := shutil.which(name)) is not None), None)


class Page:
    """An open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            told = await self._socket.receive_json()
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]

    async def evaluate(self, expression: str) -> Any:
        """What JavaScript gives; a promise is awaited."""
        told = await self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")


@contextlib.asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncGenerator[Page, None]:
    """A page in a browser of its own, which ends with the block."""
    command = program()
    assert command is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-zygote"]
    process = await asyncio.create_subprocess_exec(
        command,
        *options,
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(_START_SECONDS):
            port = await _port(process)
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                (target,) = [each for each in json.loads(await response.text()) if each["type"] == "page"]
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket,
        ):
            page = Page(socket)
            await page.ask("Page.navigate", url=url)
            yield page
            await page.ask("Browser.close")
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    """The port of DevTools, which it tells in a line."""
    assert process.stderr is not None
    async for line in process.stderr:
        if b"DevTools listening on" in line:
            return int(line.rsplit(b":", 1)[1].split(b"/")[0])
    raise AssertionError("the browser did not start")
