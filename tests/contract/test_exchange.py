"""The short way of requests and answers, over aiokafka's own connection to a broker that says what the test wants."""

import asyncio
import gc
import itertools
import ssl
import struct
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import CorrelationIdError, KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.admin import ApiVersionRequest, ApiVersionResponse_v0, ListGroupsRequest, ListGroupsResponse_v0
from hypothesis import given
from hypothesis import strategies as st

from beluga_stream.adapters.kafka.exchange import Exchange, _Frames
from beluga_stream.adapters.kafka.packet import COUNT, HEADER_BYTES, Packable, Packet, Versions
from tests.certificates import Authority

_WITHIN = 20.0
_VERSIONS = [(1, 0, 11), (16, 0, 0), (18, 0, 0)]


class Asked(Packet):
    """A request whose answer is what the broker has put behind the header."""

    API_KEY, VERSION = 1, 11

    def body(self) -> bytes:
        return b"asked"

    def answer(self, frame: bytes) -> bytes:
        if frame[HEADER_BYTES:] == b"nonsense":
            raise struct.error("cut off")
        return frame[HEADER_BYTES:]


class Asking(Packable):
    def __init__(self, packet: Packet | None = None) -> None:
        self._packet = packet or Asked()

    def packed(self, versions: Versions) -> Packet:
        return self._packet


class Unpackable(Asked):
    def body(self) -> bytes:
        return struct.pack(">h", 2**15)


class FakeBroker:
    """Takes connections and requests, and answers what it is told to."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            with suppress(EOFError, OSError):
                while True:
                    (size,) = COUNT.unpack(await reader.readexactly(4))
                    key, _, correlation = struct.unpack_from(">hhi", await reader.readexactly(size))
                    if key == ApiVersionRequest.API_KEY:
                        self.say(correlation, ApiVersionResponse_v0(0, _VERSIONS).encode())
                    else:
                        self._asked.put_nowait((key, correlation))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def heard(self) -> tuple[int, int]:
        """API key and correlation of the next request."""
        async with asyncio.timeout(_WITHIN):
            return await self._asked.get()

    def say(self, correlation: int, answer: bytes) -> None:
        assert self.writer is not None
        self.writer.write(COUNT.pack(HEADER_BYTES + len(answer)) + COUNT.pack(correlation) + answer)


class Scene:
    """A client with one connection, and the broker at its other end."""

    def __init__(self, broker: FakeBroker, client: AIOKafkaClient, connection: AIOKafkaConnection) -> None:
        self.broker = broker
        self.connection: Any = connection
        self._exchange = Exchange(client)

    def ask(self, request: Any = None) -> "asyncio.Task[Any]":
        return asyncio.create_task(self._exchange.send(0, request or Asking()))

    @property
    def short(self) -> bool:
        return type(self.connection._protocol) is _Frames


@asynccontextmanager
async def scene(
    *, timeout_ms: int = 30_000, served: ssl.SSLContext | None = None, trusted: ssl.SSLContext | None = None
) -> AsyncIterator[Scene]:
    broker = FakeBroker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    client = AIOKafkaClient(request_timeout_ms=timeout_ms)
    connection = await create_conn(
        "127.0.0.1",
        port,
        request_timeout_ms=timeout_ms,
        security_protocol="SSL" if trusted else "PLAINTEXT",
        ssl_context=trusted,
        on_close=client._on_connection_closed,
    )
    client._conns[0, ConnectionGroup.DEFAULT] = connection
    try:
        async with asyncio.timeout(_WITHIN):
            yield Scene(broker, client, connection)
    finally:
        await client.close()
        server.close()
        await server.wait_closed()


async def failed(task: "asyncio.Task[Any]") -> BaseException:
    await asyncio.wait({task}, timeout=_WITHIN)
    error = task.exception()
    assert error is not None
    return error


# ------------------------------------------------------------------------------------------- frames
class Wire:
    """What `_Frames` needs of a connection."""

    def __init__(self) -> None:
        self._requests: deque[tuple[int, Any, asyncio.Future[Any]]] = deque()
        self._reader: object | None = object()
        self._last_action = 0.0
        self.plain: list[bytes] = []

    def _handle_frame(self, frame: bytes) -> None:
        self.plain.append(frame)
        self._requests.popleft()

    def close(self, **_: Any) -> None:
        self._reader = None
        self._requests = deque()


@given(
    answers=st.lists(st.tuples(st.booleans(), st.binary(max_size=9)), max_size=6),
    cuts=st.lists(st.integers(0, 100), max_size=12),
)
async def test_frames_in_any_pieces_are_each_taken_once_and_in_order(
    answers: list[tuple[bool, bytes]], cuts: list[int]
) -> None:
    wire, sent = Wire(), b""
    futures: list[asyncio.Future[Any]] = []
    for number, (packed, said) in enumerate(answers):
        future = asyncio.get_running_loop().create_future()
        wire._requests.append((number, Asked() if packed else object(), future))
        futures += [future] * packed
        sent += COUNT.pack(HEADER_BYTES + len(said)) + COUNT.pack(number) + said
    frames = _Frames(wire, None)
    places = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
    for begin, end in itertools.pairwise(places):
        if begin < end:
            frames.data_received(sent[begin:end])
    assert [future.result() for future in futures] == [said for packed, said in answers if packed]
    assert [frame[HEADER_BYTES:] for frame in wire.plain] == [said for packed, said in answers if not packed]
    assert not wire._requests
    assert not frames._pieces


async def test_a_large_answer_in_many_pieces_is_put_together_once() -> None:
    """Not at every piece, which would take the square of the time."""
    wire = Wire()
    future = asyncio.get_running_loop().create_future()
    wire._requests.append((1, Asked(), future))
    frames = _Frames(wire, None)
    size = 50 << 20
    frames.data_received(COUNT.pack(HEADER_BYTES + size) + COUNT.pack(1))
    piece = b"x" * 4096
    for received in range(4096, size, 4096):
        frames.data_received(piece)
        assert len(frames._pieces) == 1 + received // 4096
    frames.data_received(piece)
    assert len(future.result()) == size
    assert not frames._pieces


async def test_nothing_is_taken_of_what_comes_behind_an_answer_to_something_else() -> None:
    wire = Wire()
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    wire._requests.extend([(1, Asked(), first), (2, Asked(), second)])
    _Frames(wire, None).data_received(b"".join(COUNT.pack(4) + COUNT.pack(number) for number in (7, 2)))
    assert isinstance(first.exception(), CorrelationIdError)
    assert not second.done()


async def test_a_connection_that_was_forgotten_is_not_held() -> None:
    """Aiokafka warns of such a one when it is collected, and closes it."""
    wire = Wire()
    frames, held = _Frames(wire, None), weakref.ref(wire)
    del wire
    gc.collect()
    assert held() is None
    frames.data_received(COUNT.pack(4) + COUNT.pack(1))


# -------------------------------------------------------------------------------- over a connection
async def test_answers_go_to_those_who_asked() -> None:
    async with scene() as played:
        asked = [played.ask() for _ in range(5)]
        for number in range(5):
            key, correlation = await played.broker.heard()
            assert key == Asked.API_KEY
            played.broker.say(correlation, b"%d" % number)
        assert await asyncio.gather(*asked) == [b"0", b"1", b"2", b"3", b"4"]
        assert played.short


async def test_what_is_no_packet_is_asked_in_aiokafkas_way_over_the_same_connection() -> None:
    async with scene() as played:
        before, plain, after = played.ask(), played.ask(ListGroupsRequest()), played.ask()
        for answer in (b"before", bytes(ListGroupsResponse_v0(0, [("group", "consumer")]).encode()), b"after"):
            _, correlation = await played.broker.heard()
            played.broker.say(correlation, answer)
        assert await before == b"before"
        assert (await plain).groups == [("group", "consumer")]
        assert await after == b"after"
        assert played.short


async def test_an_answer_to_something_else_ends_the_connection() -> None:
    async with scene() as played:
        first, second = played.ask(), played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation + 77, b"")
        assert isinstance(await failed(first), CorrelationIdError)
        assert isinstance(await failed(second), KafkaConnectionError)
        assert not played.connection.connected()


async def test_an_answer_that_cannot_be_read_ends_the_connection() -> None:
    told: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    async with scene() as played:
        first, second = played.ask(), played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"nonsense")
        for each in (first, second):
            error = await failed(each)
            assert isinstance(error, KafkaConnectionError)
            assert isinstance(error.__cause__, struct.error)
        assert not played.connection.connected()
    assert [type(each) for each in told] == [struct.error], "nobody would hear of it"


async def test_no_answer_in_time_ends_the_connection() -> None:
    async with scene(timeout_ms=200) as played:
        first = played.ask()
        await played.broker.heard()
        assert isinstance(await failed(first), RequestTimedOutError)
        assert not played.connection.connected()
        assert not played.connection._requests


async def test_each_is_waited_for_as_long_whatever_is_answered_before_it() -> None:
    async with scene() as played:
        first, second = played.ask(), played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"first")
        assert await first == b"first"
        connection = played.connection
        connection._protocol._look_after()
        assert connection.connected()
        connection._requests[0][1].due = 0.0
        connection._protocol._look_after()
        assert isinstance(await failed(second), RequestTimedOutError)
        assert not connection.connected()


async def test_nothing_ends_for_a_request_that_nobody_waits_for() -> None:
    async with scene() as played:
        first = played.ask()
        _, correlation = await played.broker.heard()
        first.cancel()
        await asyncio.wait({first})
        played.connection._requests[0][1].due = 0.0
        played.connection._protocol._look_after()
        assert played.connection.connected()
        played.broker.say(correlation, b"for nobody")
        second = played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"second")
        assert await second == b"second"


async def test_an_answer_of_the_last_moment_counts() -> None:
    """After a process has stood still, answers and their time limits come in one turn of the loop."""
    async with scene() as played:
        first = played.ask()
        _, correlation = await played.broker.heard()
        frame = COUNT.pack(HEADER_BYTES + 4) + COUNT.pack(correlation) + b"late"
        played.connection._protocol.data_received(frame)
        played.connection._protocol._look_after()
        assert await first == b"late"
        assert played.connection.connected()


@pytest.mark.parametrize("lose", [lambda writer: writer.close(), lambda writer: writer.transport.abort()])
async def test_what_waits_on_a_connection_that_is_lost_fails(lose: Callable[[asyncio.StreamWriter], None]) -> None:
    async with scene() as played:
        asked = [played.ask(), played.ask(), played.ask(ListGroupsRequest())]
        for _ in asked:
            await played.broker.heard()
        assert played.broker.writer is not None
        played.broker.writer.write(COUNT.pack(100) + b"half an answer")
        lose(played.broker.writer)
        for each in asked:
            assert isinstance(await failed(each), KafkaConnectionError)
        assert not played.connection.connected()


async def test_who_is_cancelled_leaves_no_trace() -> None:
    async with scene(timeout_ms=1_000) as played:
        first, second = played.ask(), played.ask()
        _, correlation = await played.broker.heard()
        first.cancel()
        await asyncio.wait({first})
        played.broker.say(correlation, b"for nobody")
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"second")
        assert await second == b"second"
        assert not played.connection._requests
        third = played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"third")
        assert await third == b"third"


async def test_what_cannot_be_packed_is_not_waited_for() -> None:
    async with scene() as played:
        with pytest.raises(struct.error):
            await played.ask(Asking(Unpackable()))
        assert not played.connection._requests
        first = played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"first")
        assert await first == b"first"


async def test_a_connection_with_answers_under_way_is_not_switched() -> None:
    async with scene() as played:
        plain = asyncio.ensure_future(played.connection.send(ListGroupsRequest()))
        await asyncio.sleep(0)
        meanwhile = played.ask(ListGroupsRequest())
        await played.broker.heard()
        await played.broker.heard()
        assert not played.short
        answer = bytes(ListGroupsResponse_v0(0, []).encode())
        played.broker.say(1 + 1, answer)
        played.broker.say(1 + 2, answer)
        assert (await plain).groups == (await meanwhile).groups == []
        first = played.ask()
        _, correlation = await played.broker.heard()
        played.broker.say(correlation, b"short")
        assert await first == b"short"
        assert played.short


async def test_a_closed_connection_is_opened_again_in_aiokafkas_way() -> None:
    async with scene() as played:
        first = played.ask()
        await played.broker.heard()
        played.connection.close()
        assert isinstance(await failed(first), KafkaConnectionError)
        plain: list[int] = []

        async def send(node: int, *_: Any, **__: Any) -> None:
            plain.append(node)

        played._exchange._plain = send
        await played.ask()
        assert plain == [0]


async def test_it_goes_the_short_way_over_tls_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca.pem")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*authority.signs("broker").written_to(tmp_path, "broker"))
    trusted = ssl.create_default_context(cafile=str(authority.file))
    async with scene(served=served, trusted=trusted) as played:
        asked = [played.ask(), played.ask(ListGroupsRequest()), played.ask()]
        answers = (b"x" * 300_000, bytes(ListGroupsResponse_v0(0, []).encode()), b"last")
        for answer in answers:
            _, correlation = await played.broker.heard()
            played.broker.say(correlation, answer)
        first, plain, last = await asyncio.gather(*asked)
        assert (len(first), plain.groups, last) == (300_000, [], b"last")
        assert played.short
        waiting = played.ask()
        await played.broker.heard()
        assert played.broker.writer is not None
        played.broker.writer.transport.abort()
        assert isinstance(await failed(waiting), KafkaConnectionError)
