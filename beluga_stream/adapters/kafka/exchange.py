"""Requests and answers of one client, for the kinds that make up its load: with less work for each than in aiokafka.

aiokafka's connection has a task that is woken twice for each answer, and a timeout of its own for each request. Here an
answer goes from the socket straight to the future that waits for it. Other requests take aiokafka's way, over the same
connection.
"""

# ruff: noqa: SLF001 - it goes past parts of aiokafka (contract test: test_exchange)

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import CorrelationIdError, KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest

from .courier import Courier
from .packet import COUNT, Packable, Packet, Versions
from .produce_packet import ProducePacket

Send: TypeAlias = Callable[..., Awaitable[Any]]


class Exchange:
    """Sends what can be packed in one go by a short way, and hands the rest to aiokafka."""

    def __init__(self, client: Any, courier: Courier | None = None) -> None:
        self._client = client
        self._courier = courier
        self._plain: Send = client.send
        self._seconds: float = client._request_timeout_ms / 1000

    async def send(self, node_id: int, request: Any, *, group: int = ConnectionGroup.DEFAULT) -> Any:
        """The broker's answer. Raises aiokafka's errors, as its client does."""
        connection = self._short(node_id, group)
        packet = None if connection is None else _packed(request, connection._versions)
        if packet is None:
            return await self._plain(node_id, request, group=group)
        return await self.begin(node_id, connection, packet)

    def way(self, node_id: int, kind: type[Packet]) -> Any:
        """Whereby such a packet can be put on its way to this broker in this turn of the loop; None: it cannot."""
        connection = self._short(node_id, ConnectionGroup.DEFAULT)
        return connection if connection is not None and kind.fits(connection._versions) else None

    def begin(self, node_id: int, way: Any, packet: Packet) -> "asyncio.Future[Any]":
        """Put it on its `way`; the future is the answer, or fails as `send` does."""
        if self._courier is not None and isinstance(packet, ProducePacket):
            return self._courier.take(node_id, packet, partial(self._put, way))
        return self._put(way, packet)

    def _short(self, node_id: int, group: int) -> Any:
        """The connection, if it is there and answers come from it by the short way."""
        connection = self._client._conns.get((node_id, group))
        return connection if connection is not None and connection.connected() and _framed(connection) else None

    def _put(self, connection: Any, packet: Packet) -> "asyncio.Future[Any]":
        """Put it on the wire; the future is its answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if connection._writer is None:
            answer.set_exception(KafkaConnectionError(f"the connection to {connection.host} has been closed"))
            return answer
        correlation = connection._next_correlation_id()
        # What cannot be packed is not waited for: every answer would be held to be for the one before.
        frame = packet.framed(correlation, connection._client_id)
        packet.due = loop.time() + self._seconds
        connection._requests.append((correlation, packet, answer))
        connection._writer.write(frame)
        connection._protocol.watch(packet.due)
        return answer


class _Frames(asyncio.Protocol):
    """Takes answers as they come. What else concerns a connection goes to the protocol that it had before."""

    def __init__(self, connection: Any, before: Any) -> None:
        # The event loop holds this for as long as the socket is open; a connection that was forgotten has to be found.
        self._connection = weakref.ref(connection)
        self._before = before
        self._pieces: list[bytes] = []
        self._missing = 0
        """Bytes that are needed before it is worth a look whether a frame is whole."""
        self._look: asyncio.TimerHandle | None = None

    def watch(self, due: float) -> None:
        """Give the connection up if what is asked is not answered by then. The oldest counts: one timer is enough."""
        if self._look is None:
            self._look = asyncio.get_running_loop().call_at(due, self._look_after)

    def _look_after(self) -> None:
        self._look = None
        connection = self._connection()
        if connection is None or (oldest := _oldest(connection)) is None:
            return
        packet, answer = oldest
        if packet.due > asyncio.get_running_loop().time():
            self.watch(packet.due)
            return
        answer.set_exception(RequestTimedOutError())
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Take every frame that is whole; keep what is left."""
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        connection = self._connection()
        at, end = 0, len(data)
        following = COUNT.size
        while following <= end:
            (size,) = COUNT.unpack_from(data, at)
            following = at + COUNT.size + size
            if following > end:
                break
            if connection is None or connection._reader is None:
                return  # what came before has closed it
            _take(connection, data[at + COUNT.size : following])
            at = following
            following = at + COUNT.size
        if at < end:
            self._pieces.append(data[at:])
            self._missing = following - end

    def eof_received(self) -> bool | None:
        ended: bool | None = self._before.eof_received()
        return ended

    def connection_lost(self, error: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        self._before.connection_lost(error)

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()


def _take(connection: Any, frame: bytes) -> None:
    """Give an answer to whoever waits for it."""
    correlation, request, answer = connection._requests[0]
    if not isinstance(request, Packet):
        connection._handle_frame(frame)
        return
    (found,) = COUNT.unpack_from(frame)
    if found != correlation:
        if not answer.done():
            answer.set_exception(CorrelationIdError(f"sent {correlation}, received {found}"))
        connection.close(reason=CloseReason.OUT_OF_SYNC)
        return
    if not answer.done():
        answer.set_result(request.answer(frame))
    connection._last_action = time.monotonic()
    connection._requests.popleft()


def _framed(connection: Any) -> bool:
    """Whether answers of this connection come by the short way; they do from where none is under way."""
    before = connection._protocol
    if type(before) is _Frames:
        return True
    if connection._requests or connection._reader._buffer:
        return False
    connection._protocol = _Frames(connection, before)
    connection._writer.transport.set_protocol(connection._protocol)
    return True


def _packed(request: Any, versions: Versions) -> Packet | None:
    if isinstance(request, ProduceRequest):
        return ProducePacket.of(request, versions)
    return request.packed(versions) if isinstance(request, Packable) else None


def _oldest(connection: Any) -> "tuple[Packet, asyncio.Future[Any]] | None":
    """Of what somebody waits for."""
    for _, request, answer in connection._requests:
        if isinstance(request, Packet) and not answer.done():
            return request, answer
    return None
