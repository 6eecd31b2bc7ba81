"""A run's stream as server-sent events: the answer to a request, sent as its reader takes it."""

from collections.abc import AsyncGenerator

import orjson
from starlette.types import Receive, Scope, Send

from . import sse
from .problem import problem_of
from .reading import Stalled, attend, taken
from .stream import CLOSING, Frame, problem_frame

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back
]


class Events:
    """Sends what comes, until it ends or the reader is gone. A reader that takes nothing for too long is left."""

    def __init__(
        self,
        first: Frame | None,
        coming: AsyncGenerator[Frame | None, None],
        *,
        reconnect_ms: int,
        stall_seconds: float,
    ) -> None:
        self._first = first
        self._coming = coming
        self._reconnect_ms = reconnect_ms
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "HEAD":  # its connection is for the next request at once, and not when the run has ended
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await attend(self._send(send), _gone(receive), scope["path"])

    async def _send(self, send: Send) -> None:
        await self._pass(send, f"retry: {self._reconnect_ms}\n\n".encode())
        await self._pass(send, self._encoded(self._first))
        try:
            async for frame in self._coming:
                await self._pass(send, self._encoded(frame))
        except Stalled:
            raise
        except Exception as error:  # noqa: BLE001 - a defect is told, and logged
            frame = problem_frame(problem_of(error, "streamRun"))
            await self._pass(send, self._encoded(frame))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass(self, send: Send, body: bytes) -> None:
        await taken(send({"type": "http.response.body", "body": body, "more_body": True}), self._stall_seconds)

    def _encoded(self, frame: Frame | None) -> bytes:
        if frame is None:
            return sse.HEARTBEAT
        retry_ms = self._reconnect_ms if frame.kind == CLOSING else None
        return sse.encode(frame.kind, orjson.dumps(frame.data), id=frame.cursor, retry_ms=retry_ms)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
