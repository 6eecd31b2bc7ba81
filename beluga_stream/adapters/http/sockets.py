"""A run's stream over a WebSocket: the same as server-sent events, a JSON text for each."""

from collections.abc import AsyncGenerator

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from .problem import problem_of
from .reading import Stalled, attend, taken
from .stream import CLOSING, PROBLEM, Frame, problem_frame

_DONE, _RESTARTS, _FAILED = 1000, 1012, 1011


async def serve_socket(
    socket: WebSocket, first: Frame | None, coming: AsyncGenerator[Frame | None, None], stall_seconds: float
) -> None:
    """Send what comes, until it ends or the reader is gone. Signs of life are the protocol's own."""
    await socket.accept()
    await attend(_send(socket, first, coming, stall_seconds), _gone(socket), socket.url.path)


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
    await taken(socket.send_text(body.decode()), stall_seconds)
    return frame.kind


async def _gone(socket: WebSocket) -> None:
    """Readers have nothing to say; what they say is dropped."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
