"""`connect("http://...")`: the same client as over Kafka, and what it does when the gateway is away."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from beluga_stream import connect
from beluga_stream.adapters.http import sse, wire
from beluga_stream.adapters.http.problem import Problem, error_of
from beluga_stream.adapters.http.sse import Parser, encode
from beluga_stream.adapters.http.stream import Pace
from beluga_stream.adapters.http.tokens import SCOPES, new_token
from beluga_stream.adapters.http.wire import Wire
from beluga_stream.api.client import Client
from beluga_stream.application.catalog import publish
from beluga_stream.application.clients.event_json import event_json, event_of
from beluga_stream.application.clients.results import Chunk, Event, NodeChanged, RunChanged
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import Failure
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import (
    AccessDenied,
    BelugaError,
    Expired,
    InvalidConfig,
    InvalidGraph,
    InvalidInput,
    LogUnavailable,
    NotFound,
    RecordTooLarge,
    ResourceExhausted,
    RunFailed,
    RunRejected,
    StoreUnavailable,
    TaskCanceled,
    TemporalUnavailable,
    TimedOut,
)
from tests.brokers import free_port
from tests.unit.desks import Desk, Mood, graph
from tests.unit.engines import handler, program
from tests.unit.gateways import QUICK, desk_at, opened
from tests.unit.graphs import edges, node, plan
from tests.unit.test_gateway import counting


async def test_it_gives_the_same_events_and_results_as_the_log() -> None:
    async with Desk(counting()).open() as desk, opened(desk) as door, desk.client() as runs, desk_at(door.url) as http:
        run = await http.start("count", 4, tags={"who": "me"})
        assert await http.result(run) == await runs.result(run) == [0, 1, 2, 3]
        events = [event async for event in http.follow(run)]
        assert events == [event async for event in runs.follow(run)]
        for number, event in enumerate(events[:-1], start=1):
            assert [later async for later in http.follow(run, after=event.cursor)] == events[number:]
        assert [later async for later in http.follow(run, after=events[-1].cursor)] == []
        assert await http.outputs(run, "a") == await runs.outputs(run, "a")
        summary = await runs.summary(run)
        assert summary is not None
        told = await http.summary(run)
        assert told is not None
        for name in ("run", "graph", "status", "trigger", "started_ms", "ended_ms", "tags", "failure", "parent"):
            assert getattr(told, name) == getattr(summary, name), name
        assert [each.run for each in await http.summaries()] == [run]


async def test_the_typed_client_works_over_it() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door, connect(door.url) as beluga:
        run = await beluga.start("test", 4, idempotency_key="k")
        assert await run.result(timeout=10) == 8
        assert (await run.status()).status == "succeeded"
        assert [each.id for each in await beluga.list(graph="test")] == [run.id]
        assert (await beluga.start("test", 4, idempotency_key="k")).id == run.id
        with pytest.raises(NotFound):
            await beluga.run(_Nameless(), "0" * 32).status()


async def test_a_run_may_be_allowed_less_than_its_graph_allows() -> None:
    async def stuck(value: int) -> int:
        await asyncio.Event().wait()
        return value

    late = program(plan([node("a")], edges("input > a"), ["a"]), {"a": handler(stuck)})
    async with Desk(late).open() as desk, opened(desk) as door, connect(door.url) as beluga:
        run = await beluga.start("test", 4, timeout=0.2)
        with pytest.raises(RunFailed, match=r"the run did not end within 0\.2 s") as failed:
            await run.result(timeout=10)
        assert failed.value.reason == "timeout"
        for refused in (0, -1, float("nan"), 1e12):
            with pytest.raises(InvalidConfig, match=r"start: timeout=.* is out of range"):
                await beluga.start("test", 4, timeout=refused)
        for out_of_range in (0, 1 << 60):
            status, told = await door.say("POST", "/v1/graphs/test/runs", {"input": 4, "timeout_ms": out_of_range})
            assert (status, "timeout_ms" in told["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"idempotency_key": 5}, "an idempotency key must be text, and is 5"),
        ({"idempotency_key": "\ud800"}, "an idempotency key must be text"),
        ({"idempotency_key": ""}, "an idempotency key is empty"),
        ({"tags": {"shop": 1}}, "tag 'shop' must be text, and is 1"),
        ({"tags": {"shop": None}}, "tag 'shop' must be text"),
        ({"tags": {1: "shop"}}, "the name of a tag must be text, and is 1"),
        ({"tags": {"shop": "\ud800"}}, "tag 'shop' must be text"),
    ],
)
async def test_keys_and_tags_that_are_no_text_are_refused_before_anything_is_sent(
    given: dict[str, Any], said: str
) -> None:
    @contextlib.asynccontextmanager
    async def nobody() -> AsyncGenerator[Any, None]:
        yield None

    async with Client(nobody) as beluga:
        with pytest.raises(InvalidInput, match=said):
            await beluga.start("test", 4, **given)


@pytest.mark.parametrize("key", ["", " a", "a ", "a\nb", "a\x00", "clé", "\ud800", "x" * 257])
async def test_a_key_that_no_header_carries_as_it_is_is_refused_before_it_is_sent(key: str) -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door, desk_at(door.url) as http:
        with pytest.raises(InvalidInput, match="printable ASCII"):
            await http.start("test", 4, idempotency_key=key)
        with pytest.raises(InvalidInput, match="printable ASCII"):
            await http.fork(RunId("0" * 32), "a", idempotency_key=key)
        assert await http.result(await http.start("test", 4, idempotency_key="a ~ b")) == 8


class _Nameless:
    """Stands for a graph whose code is not needed."""


async def test_ends_that_are_no_success_are_raised_as_over_the_log() -> None:
    mood = Mood(broken=True)
    waiting = plan([node("w", NodeKind.WAIT, signal="go")], edges("input > w"), ["w"], "waits")
    desk_of = Desk(graph(mood), program(waiting, {}))
    async with desk_of.open() as desk, opened(desk) as door, desk_at(door.url) as http:
        failed = await http.start("test", 4)
        with pytest.raises(RunFailed, match="broken") as error:
            await http.result(failed)
        assert (error.value.reason, error.value.ids["node"]) == ("execution_failed", "a")
        with pytest.raises(NotFound, match="no output"):
            await http.outputs(failed, "a")
        async with desk.client() as runs:
            told, known = await http.summary(failed), await runs.summary(failed)
            assert told is not None
            assert known is not None
            assert told.failure == known.failure
            assert told.failure is not None
            assert told.failure.retry_after_ms == 2_500
        mood.broken = False
        await http.retry(failed)
        assert await http.result(failed) == 8
        slow = await http.start("waits", 1)
        with pytest.raises(TimedOut, match="it goes on"):
            await http.result(slow, timeout_seconds=0.1)
        await http.cancel(slow, "no need")
        with pytest.raises(TaskCanceled, match="no need"):
            await http.result(slow)
        signalled = await http.start("waits", 1)
        await http.signal(signalled, "go", {"now": True}, id="once")
        assert await http.result(signalled) == {"now": True}
        with pytest.raises(NotFound, match="no graph"):
            await http.start("unknown", 1)


async def test_a_key_with_another_input_is_refused_to_who_gave_it() -> None:
    gate = asyncio.Event()
    async with (
        Desk(counting(gate)).open() as desk,
        opened(desk) as door,
        desk_at(door.url) as http,
        desk_at(door.url) as others,
    ):
        run = await http.start("count", 2, idempotency_key="k")
        assert await others.start("count", 3, idempotency_key="k") == run
        with pytest.raises(RunRejected) as refused:
            await others.result(run)
        assert refused.value.reason == "idempotency_conflict"
        gate.set()
        assert await http.result(run) == [0, 1]
        await others.start("count", 3, idempotency_key="k")
        for _ in range(2):  # the run has ended before, and the refusal comes behind its end
            with pytest.raises(RunRejected):
                await others.result(run)
        assert await http.result(run) == [0, 1]
        asked = http.asked(run)
        await http.start("count", 4, idempotency_key="k")
        with pytest.raises(RunRejected):
            await http.result(run)
        assert await http.result(run, asked=asked) == [0, 1]


async def test_a_stream_goes_on_across_a_restart_of_the_gateway_complete_and_in_order() -> None:
    gate, port = asyncio.Event(), free_port()
    async with Desk(counting(gate)).open() as desk:
        seen: list[Event] = []
        half = asyncio.Event()

        async def read(run: RunId) -> None:
            async with desk_at(f"http://127.0.0.1:{port}") as http:
                async for event in http.follow(run):
                    seen.append(event)
                    if isinstance(event, Chunk) and event.seq == 4:
                        half.set()

        async with opened(desk, port=port) as door, desk_at(door.url) as http:
            run = await http.start("count", 10)
            reading = asyncio.create_task(read(run))
            await half.wait()
        gate.set()
        async with opened(desk, port=port), desk.client() as runs:
            await reading
            assert seen == [event async for event in runs.follow(run)]
        assert [event.value for event in seen if isinstance(event, Chunk)] == list(range(10))


async def test_a_stream_that_says_nothing_for_longer_than_patience_goes_on_after_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How long a gateway is away counts from when it is: before that its run may have been silent for hours."""
    clock, gate, half, port = [0.0], asyncio.Event(), asyncio.Event(), free_port()
    monkeypatch.setattr(wire, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    async with Desk(counting(gate)).open() as desk:

        async def read(run: RunId) -> list[int]:
            chunks: list[int] = []
            async with desk_at(f"http://127.0.0.1:{port}") as http:
                async for event in http.follow(run):
                    if isinstance(event, Chunk):
                        chunks.append(event.value)
                        if event.seq == 4:
                            half.set()
            return chunks

        async with opened(desk, port=port) as door, desk_at(door.url) as http:
            reading = asyncio.create_task(read(await http.start("count", 10)))
            await half.wait()
            clock[0] = 3_600.0
        gate.set()
        async with opened(desk, port=port):
            assert await reading == list(range(10))


async def test_streams_of_many_runs_keep_out_no_signal_that_they_wait_for() -> None:
    waiting = plan([node("w", NodeKind.WAIT, signal="go")], edges("input > w"), ["w"], "waits")
    async with Desk(program(waiting, {})).open() as desk, opened(desk) as door, desk_at(door.url) as http:
        run = await http.start("waits", 1)
        results = [asyncio.create_task(http.result(run)) for _ in range(110)]
        await door.streams(len(results))
        await http.signal(run, "go", 7)
        assert await asyncio.gather(*results) == [7] * len(results)


async def test_an_output_is_waited_for_whichever_gateway_has_taken_the_start() -> None:
    made, port = graph(Mood()), free_port()
    desk, hasty = Desk(made), replace(QUICK, pace=Pace(unknown_after=0.0))
    await publish(desk.log, desk.topics, [made.definition])
    async with contextlib.AsyncExitStack() as clients:
        async with opened(desk, port=port) as door:
            http = await clients.enter_async_context(desk_at(door.url))
            run = await http.start("test", 4)
        async with opened(desk, port=port, options=hasty) as door:
            output = asyncio.create_task(http.outputs(run, "a"))
            await door.streams(1)
            async with desk.open():
                assert await output == 8


async def test_a_stream_goes_on_after_every_cut_of_its_connection() -> None:
    async with Desk(counting()).open() as desk, opened(desk) as door:
        cutting = await asyncio.start_server(_Cutting(door.url, most=700), "127.0.0.1", 0)
        port = cutting.sockets[0].getsockname()[1]
        async with cutting, desk_at(f"http://127.0.0.1:{port}") as http, desk.client() as runs:
            async with desk_at(door.url) as direct:
                run = await direct.start("count", 8)
                await direct.result(run)
            seen = [event async for event in http.follow(run)]
            assert seen == [event async for event in runs.follow(run)]


class _Cutting:
    """A proxy that cuts each connection after so many bytes of the answer, wherever that is."""

    def __init__(self, url: str, most: int) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._most = most

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(self._host, self._port)
        request = await reader.readuntil(b"\r\n\r\n")
        out.write(request)
        left = self._most
        while left > 0 and (data := await there.read(left)):
            left -= len(data)
            writer.write(data)
            await writer.drain()
        out.close()
        writer.close()


async def test_a_gateway_that_is_away_for_too_long_is_unavailable() -> None:
    with pytest.raises(LogUnavailable, match="does not answer: Cannot connect to host"):
        async with Wire(f"http://127.0.0.1:{free_port()}", present_within=0.1):
            pass


async def test_a_stream_that_is_cut_again_and_again_is_told_of_in_words() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        answer = (
            b"Content-Length: 2\r\n\r\n{}" if b"/healthz" in request else b"Content-Type: text/event-stream\r\n\r\n"
        )
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + answer)
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server, Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", patience=0) as each:
        with pytest.raises(LogUnavailable, match=r"does not answer: the stream was cut$"):
            _ = [frame async for frame in each.stream("/v1/runs/r/events", {}, None)]


async def test_an_address_that_is_none_is_refused_at_once() -> None:
    for address in ("http://", "https:///x", "http://[::1", "http://h:99999999", "http://h:x", "http://h:0"):
        with pytest.raises(InvalidConfig, match="no address of a gateway"):
            connect(address)
    with pytest.raises(InvalidConfig, match="a token is for a gateway"):
        connect("127.0.0.1:9092", token="x")
    assert isinstance(connect("http://127.0.0.1:1"), Client)


async def test_a_token_may_end_in_a_newline_and_have_none_within() -> None:
    """A command that reads it from a file gives the one, and no header can carry the other."""
    text, kept = new_token("shop", frozenset(SCOPES))
    async with Desk(counting()).open() as desk, opened(desk, tokens=[kept]) as door:
        async with connect(door.url, token=f"{text}\n") as beluga:
            assert await beluga.list() == []
        with pytest.raises(InvalidConfig, match="characters that no token has"):
            async with connect(door.url, token="a\nb"):
                pass


# --------------------------------------------------------------------------------- what goes over it


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("a", node="n"), 422),
        (RecordTooLarge("a"), 413),
        (NotFound("a", run="r"), 404),
        (Expired("a", run="r"), 410),
        (AccessDenied("a"), 403),
        (RunRejected("a", reason="not_found", run="r"), 409),
        (RunFailed("a", reason="poisoned", run="r", node="n"), 409),
        (TaskCanceled("a", run="r"), 409),
        (TimedOut("a", run="r"), 504),
        (ResourceExhausted("a"), 429),
        (LogUnavailable("a"), 503),
        (TemporalUnavailable("a", address="b"), 503),
        (StoreUnavailable("a"), 503),
        (InvalidGraph("a", node="n"), 500),
    ],
)
def test_an_error_is_the_same_at_the_other_end(error: BelugaError, status: int) -> None:
    problem = Problem.of(error)
    assert problem.status == status
    again = error_of(status, problem.document)
    assert type(again) is type(error)
    assert (again.message, again.ids, again.code) == (error.message, error.ids, error.code)
    assert getattr(again, "reason", None) == getattr(error, "reason", None)


@pytest.mark.parametrize(("status", "kind"), [(401, AccessDenied), (502, LogUnavailable), (418, InvalidInput)])
def test_what_a_proxy_says_is_an_error_of_the_tree_too(status: int, kind: type[BelugaError]) -> None:
    assert type(error_of(status, {})) is kind


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_events_are_found_however_the_bytes_are_cut(size: int) -> None:
    data = b"retry: 5\n\n: hello\n\n" + encode("chunk", b'{"a":1}', id="0-1") + encode("end", b"{}", retry_ms=9)
    data = data.replace(b"\n", b"\r\n") + "event: x\ndata: é\ndata: ü\n\n".encode()
    parser = Parser()
    found = [event for at in range(0, len(data), size) for event in parser.feed(data[at : at + size])]
    assert [(event.event, event.data, event.id, event.retry_ms) for event in found] == [
        ("chunk", '{"a":1}', "0-1", None),
        ("end", "{}", None, 9),
        ("x", "é\nü", None, None),
    ]


async def test_an_event_that_is_too_long_for_a_client_is_an_error_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a node gave has no bound; what a client keeps of one line has."""
    async with Desk(counting()).open() as desk, opened(desk) as door, desk_at(door.url) as http:
        run = await http.start("count", 2_000)
        await http.result(run)
        monkeypatch.setattr(sse, "MOST_BYTES", 4_096)
        with pytest.raises(RecordTooLarge, match="through the broker"):
            _ = [event async for event in http.follow(run)]


@pytest.mark.parametrize(
    "event",
    [
        Chunk(cursor="0-1", at_ms=1, node="a", attempt=2, incarnation="i", seq=3, value={"x": None}),
        NodeChanged(cursor="0-1", node="a", status="skipped", attempt=0),
        NodeChanged(
            cursor="0-1", node="a", status="backoff", attempt=1, failure=Failure("timeout", "no", "a", 1, 30_000)
        ),
        RunChanged(cursor="0-1.2", status="running"),
        RunChanged(cursor="0-1", status="failed", failure=Failure("execution_failed", "no", "a", 2)),
    ],
)
async def test_an_event_is_the_same_at_the_other_end(event: Event) -> None:
    async def load(payload: Any) -> Any:
        raise AssertionError("nothing to load")

    assert event_of(await event_json("r", event, load, outputs=True)) == event


def test_what_is_no_event_is_refused() -> None:
    for tree in ({}, {"type": "chunk", "cursor": "0-1", "at_ms": 1}, {"type": "new", "cursor": "0-1", "at_ms": 1}):
        with pytest.raises(InvalidInput):
            event_of(tree)


async def test_a_result_that_is_kept_no_longer_is_not_found() -> None:
    async def long(value: int) -> str:
        return "x" * 70_000

    of = plan([node("a")], edges("input > a"), ["a"], "long")
    made = program(of, {"a": handler(long)})
    async with Desk(made).open() as desk, opened(desk) as door, desk_at(door.url) as http:
        run = await http.start("long", 1)
        assert len(await http.result(run)) == 70_000
        desk.blobs.stored.clear()
        desk.payloads._cache.clear()
        with pytest.raises(NotFound, match=run):
            await http.result(run)
