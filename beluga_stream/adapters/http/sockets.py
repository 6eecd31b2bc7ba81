"""A run's stream over a WebSocket: the same as server-sent events, a JSON text for each."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...bounds import within
from .problem import problem_of
from .stream import CLOSING, PROBLEM, Frame, Stalled, problem_frame

log = logging.getLogger("beluga_stream.gateway")

_DONE, _RESTARTS, _FAILED = 1000, 1012, 1011


async def serve_socket(
    socket: WebSocket, first: Frame | None, coming: AsyncGenerator[Frame | None, None], stall_seconds: float
) -> None:
    """Send what comes, until it ends or the reader is gone. Signs of life are the protocol's own."""
    await socket.accept()
    sending = asyncio.create_task(_send(socket, first, coming, stall_seconds))
    leaving = asyncio.create_task(_gone(socket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if not sending.cancelled():
        try:
            sending.result()
        except Stalled:
            log.info("left a reader that took nothing", extra={"action": "gateway.stalled", "path": socket.url.path})


async def _send(
    socket: WebSocket, first: Frame | None, coming: AsyncGenerator[Frame | None, None], stall_seconds: float
) -> None:
    last = await _pass(socket, first, stall_seconds)
    try:
        async for frame in coming:
            last = await _pass(socket, frame, stall_seconds) or last
    except WebSocketDisconnect:
        return
    except Stalled:
        raise
    except Exception as error:  # noqa: BLE001 - a defect is told, and logged
        last = await _pass(socket, problem_frame(problem_of(error, "streamRun")), stall_seconds)
    code = {CLOSING: _RESTARTS, PROBLEM: _FAILED}.get(last or "", _DONE)
    await socket.close(code)


async def _pass(socket: WebSocket, frame: Frame | None, stall_seconds: float) -> str | None:
    """Send one; returns its kind."""
    if frame is None:
        return None
    body = orjson.dumps({"type": frame.kind, **frame.data})
    try:
        async with within(stall_seconds):
            await socket.send_text(body.decode())
    except TimeoutError as error:
        raise Stalled from error
    return frame.kind


async def _gone(socket: WebSocket) -> None:
    """Readers have nothing to say; what they say is dropped."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
