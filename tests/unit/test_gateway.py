"""The HTTP gateway over the real engine on a log in memory: what it answers, and what its streams hold."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import WSMsgType

from beluga_stream.adapters.http.sse import Sent
from beluga_stream.adapters.http.stream import Pace
from beluga_stream.application.clients.results import Chunk
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.ids import RunId
from beluga_stream.ports.handlers import Program
from tests.unit.desks import Desk, Mood, graph
from tests.unit.engines import handler, program
from tests.unit.gateways import QUICK, Door, opened
from tests.unit.graphs import edges, node, plan

NOBODY = "0" * 32


def counting(gate: asyncio.Event | None = None, name: str = "count") -> Program:
    """A graph whose one node yields the numbers below its input; with a gate the second half waits for it."""

    async def stream(value: int) -> AsyncGenerator[Any, None]:
        for number in range(value):
            if gate is not None and number == value // 2:
                await gate.wait()
            yield number

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"], name)
    return program(of, {"a": handler(stream, streams=True)})


async def start(door: Door, name: str, value: Any, **headers: str) -> str:
    status, told = await door.say("POST", f"/v1/graphs/{name}/runs", {"input": value}, **headers)
    assert status == 202, told
    return str(told["run"])


def kinds(events: list[Sent]) -> list[str]:
    """What was sent; `live` may stand anywhere among what comes at once."""
    return [event.event for event in events if event.event != "live"]


async def test_a_run_is_started_followed_and_looked_at() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door:
        body = {"input": 4, "tags": {"who": "me"}}
        status, told, headers = await door.whole("POST", "/v1/graphs/test/runs", body)
        run = told["run"]
        assert (status, told["graph"], headers["Location"]) == (202, "test", f"/v1/runs/{run}")
        events = await door.events(run)
        assert kinds(events) == ["run", "node", "node", "run", "end"]
        last = json.loads(events[-2].data)
        assert (last["status"], last["output"], last["cursor"]) == ("succeeded", 8, events[-2].id)
        assert json.loads(events[-1].data) == {"status": "succeeded"}
        assert await door.say("GET", f"/v1/runs/{run}/result") == (200, {"run": run, "output": 8})
        assert await door.say("GET", f"/v1/runs/{run}/nodes/a/output") == (200, {"run": run, "output": 8})
        status, told = await door.say("GET", f"/v1/runs/{run}")
        assert (status, told["status"], told["tags"]) == (200, "succeeded", {"who": "me"})


async def test_the_graphs_are_told_with_their_inputs() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door:
        status, told = await door.say("GET", "/v1/graphs")
        assert (status, [each["name"] for each in told["graphs"]]) == (200, ["test"])
        status, shown = await door.say("GET", "/v1/graphs/test")
        assert (status, told["graphs"][0].items() <= shown.items()) == (200, True)
        status, told = await door.say("GET", "/v1/graphs/other")
        assert (status, told["code"], told["ids"]) == (404, "not_found", {"graph": "other"})
        assert "no worker has published it" in told["detail"]
        assert (await door.say("GET", "/v1/graphs/tset"))[1]["detail"] == "there is no graph 'tset': is 'test' meant?"


async def test_a_stream_goes_on_after_whichever_event_was_seen_last() -> None:
    async with Desk(counting()).open() as desk, opened(desk) as door:
        run = await start(door, "count", 5)
        whole = [event for event in await door.events(run) if event.id is not None]
        assert [json.loads(event.data)["value"] for event in whole if event.event == "chunk"] == list(range(5))
        for number, event in enumerate(whole[:-1], start=1):
            by_header = await door.events(run, Last_Event_ID=event.id or "")
            by_query = await door.events(run, f"?after={event.id}")
            assert [e for e in by_header if e.id is not None] == [e for e in by_query if e.id is not None]
            assert [e for e in by_header if e.id is not None] == whole[number:]
        # It tells `EventSource` not to come again.
        assert await door.say("GET", f"/v1/runs/{run}/events", Last_Event_ID=whole[-1].id or "") == (204, None)


async def test_a_stream_says_where_what_is_new_begins() -> None:
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk) as door, desk.client() as others:
        run = await start(door, "count", 4)
        async for event in others.follow(RunId(run)):
            if isinstance(event, Chunk) and event.seq == 1:
                break
        reading = asyncio.create_task(door.events(run))
        only_new = asyncio.create_task(door.events(run, "?after=live"))
        await door.streams(2)
        await asyncio.sleep(0.2)  # nothing can tell that they have been sent what was there
        gate.set()
        told = [event.event for event in await reading]
        assert told.index("live") > told.index("chunk")
        assert told[told.index("live") :].count("chunk") == 2
        chunks = [json.loads(event.data)["value"] for event in await only_new if event.event == "chunk"]
        assert chunks == [2, 3]


async def test_a_silent_stream_gives_signs_of_life() -> None:
    gate = asyncio.Event()
    options = replace(QUICK, pace=Pace(heartbeat=0.02, unknown_after=5))
    async with Desk(counting(gate)).open() as desk, opened(desk, options=options) as door:
        run = await start(door, "count", 2)
        async with door.session.get(f"{door.url}/v1/runs/{run}/events") as response:
            seen = b""
            while seen.count(b": still here") < 3:
                seen += await response.content.readany()
            gate.set()
            while b"event: end" not in seen:
                seen += await response.content.readany()
        assert seen.startswith(b"retry: 10\n\n")


async def test_a_run_that_nobody_knows_is_not_found() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door:
        for path in (f"/v1/runs/{NOBODY}", f"/v1/runs/{NOBODY}/events"):
            status, told, headers = await door.whole("GET", path)
            assert (status, told["code"], told["ids"]) == (404, "not_found", {"run": NOBODY})
            assert headers["Content-Type"] == "application/problem+json"


async def test_a_run_whose_start_the_reader_knows_of_is_waited_for() -> None:
    """It was started by way of another gateway, and no coordinator has taken it up yet."""
    options = replace(QUICK, pace=Pace(heartbeat=0.02, unknown_after=0.02))
    async with Desk(graph(Mood())).open() as desk, opened(desk, options=options) as door, asyncio.timeout(20):
        async with door.session.get(f"{door.url}/v1/runs/{NOBODY}/events?digest=ab") as response:
            seen = b""
            while seen.count(b": still here") < 3:
                came = await response.content.readany()
                assert came, seen
                seen += came
        assert (response.status, b"event: live" in seen, b"event: problem" in seen) == (200, True, False)


async def test_what_retention_has_removed_is_gone() -> None:
    async with Desk(counting()).open() as desk:
        async with opened(desk) as door:
            run = await start(door, "count", 3)
            cursor = next(event.id for event in await door.events(run) if event.id is not None)
            partition = int(str(cursor).partition("-")[0])
            end = (await desk.log.end(desk.topics.run_results))[partition]
            desk.log.drop_before(desk.topics.run_results, partition, end)
        async with opened(desk) as door:
            for query in ("", f"?after={cursor}"):
                status, told = await door.say("GET", f"/v1/runs/{run}/events{query}")
                assert (status, told["code"]) == (410, "expired")
            status, told = await door.say("GET", f"/v1/runs/{run}/result")
            assert (status, told["title"]) == (410, "Expired")


async def test_how_a_run_ended_is_a_conflict_with_its_reason() -> None:
    mood = Mood(broken=True)
    async with Desk(graph(mood)).open() as desk, opened(desk) as door:
        run = await start(door, "test", 4)
        status, told = await door.say("GET", f"/v1/runs/{run}/result")
        assert (status, told["code"], told["reason"]) == (409, "execution_failed", "execution_failed")
        assert told["ids"]["node"] == "a"
        mood.broken = False
        status, retried = await door.say("POST", f"/v1/runs/{run}/retry")
        assert status == 202
        asked = f"ends_after={retried['ends_after']}"
        assert await door.say("GET", f"/v1/runs/{run}/result?{asked}") == (200, {"run": run, "output": 8})
        while (await door.say("GET", f"/v1/runs/{run}"))[1]["status"] != "succeeded":  # noqa: ASYNC110 - it follows
            await asyncio.sleep(0.01)
        status, told = await door.say("POST", f"/v1/runs/{run}/retry")
        assert (status, told["code"]) == (409, "invalid_state")
        assert told["detail"] == f"run {run} is succeeded: only a failed run can be retried"


async def test_who_waits_for_no_time_at_all_gets_what_is_there() -> None:
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk) as door:
        run = await start(door, "count", 4)
        for path in ("result", "nodes/a/output"):
            status, told = await door.say("GET", f"/v1/runs/{run}/{path}?timeout=0")
            assert (status, told["code"]) == (409, "timeout")
        gate.set()
        await door.events(run)
        for path in ("result", "nodes/a/output"):
            status, told = await door.say("GET", f"/v1/runs/{run}/{path}?timeout=0")
            assert (status, told["output"]) == (200, [0, 1, 2, 3])
        status, told = await door.say("GET", f"/v1/runs/{NOBODY}/result?timeout=0")
        assert (status, told["code"]) == (404, "not_found")


async def test_a_run_is_cancelled_and_signalled() -> None:
    of = plan([node("a", NodeKind.WAIT, signal="go")], edges("input > a"), ["a"])
    async with Desk(program(of, {})).open() as desk, opened(desk) as door:
        cancelled, signalled = await start(door, "test", 1), await start(door, "test", 2)
        status, told = await door.say("GET", f"/v1/runs/{signalled}/result?timeout=0.05")
        assert (status, told["code"], told["retryable"]) == (409, "timeout", True)
        assert (await door.say("POST", f"/v1/runs/{cancelled}/cancel", {"reason": "no need"}))[0] == 202
        assert (await door.say("POST", f"/v1/runs/{signalled}/signals/go", {"value": "hello"}))[0] == 202
        status, told = await door.say("GET", f"/v1/runs/{cancelled}/result")
        assert (status, told["code"]) == (409, "task_canceled")
        assert "no need" in told["detail"]
        assert (await door.say("GET", f"/v1/runs/{signalled}/result"))[1]["output"] == "hello"


async def test_what_is_no_runs_id_is_neither_cancelled_nor_signalled() -> None:
    """The engine keeps rows of other kinds under such keys."""
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door:
        for path in ("~limit%2Fx/cancel", "~x/cancel", "~x/signals/go"):
            status, told = await door.say("POST", f"/v1/runs/{path}", {})
            assert status in (404, 422), (path, told)


async def test_a_key_with_another_input_is_refused_to_who_sent_it() -> None:
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk) as door:
        run = await start(door, "count", 2, Idempotency_Key="k")
        status, told = await door.say("POST", "/v1/graphs/count/runs", {"input": 3}, Idempotency_Key="k")
        assert (status, told["run"]) == (202, run), "the engine decides, and says so in the stream"
        mine = f"?digest={told['digest']}&since={told['since']}"
        events = await door.events(run, mine)
        assert json.loads(events[-1].data) == {"status": "rejected"}
        (refusal,) = [json.loads(event.data) for event in events if event.event == "rejected"]
        assert refusal["code"] == "idempotency_conflict"
        gate.set()
        assert json.loads((await door.events(run))[-1].data) == {"status": "succeeded"}


async def test_runs_are_listed_in_pages() -> None:
    async with Desk(graph(Mood()), counting()).open() as desk, opened(desk) as door:
        started = []
        for number in range(5):
            body = {"input": number, "tags": {"odd": str(number % 2)}}
            told = (await door.say("POST", "/v1/graphs/test/runs", body))[1]
            started.append(told["run"])
            await door.say("GET", f"/v1/runs/{told['run']}/result")
        pages, query = [], ""
        while True:
            page = (await door.say("GET", f"/v1/runs?limit=2{query}"))[1]
            pages.append([run["run"] for run in page["runs"]])
            if page["next"] is None:
                break
            query = f"&after={page['next']}"
        assert pages == [started[:2], started[2:4], started[4:]]
        odd = (await door.say("GET", "/v1/runs?tag=odd=1&graph=test&status=succeeded"))[1]["runs"]
        assert [run["run"] for run in odd] == [started[1], started[3]]
        assert (await door.say("GET", "/v1/runs?graph=count"))[1] == {"runs": [], "next": None}


async def test_a_web_socket_sends_the_same_stream() -> None:
    async with Desk(counting()).open() as desk, opened(desk) as door:
        run = await start(door, "count", 3)
        whole = await door.events(run)
        told = []
        async with door.session.ws_connect(f"{door.url}/v1/runs/{run}/events") as socket:
            async for message in socket:
                assert message.type is WSMsgType.TEXT
                told.append(json.loads(message.data))
            assert socket.close_code == 1000
        told = [each for each in told if each["type"] != "live"]
        assert [each["type"] for each in told] == kinds(whole)
        assert told[:-1] == [json.loads(event.data) for event in whole if event.id is not None]
        rest = []
        async with door.session.ws_connect(f"{door.url}/v1/runs/{run}/events?after={told[2]['cursor']}") as socket:
            rest = [json.loads(message.data) async for message in socket]
        assert [each for each in rest if each["type"] != "live"] == told[3:]


async def test_a_web_socket_that_cannot_be_had_is_a_problem() -> None:
    async with Desk(counting()).open() as desk, opened(desk) as door:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        async with door.session.get(f"{door.url}/v1/runs/{NOBODY}/events", headers=upgrade) as response:
            assert (response.status, (await response.json(content_type=None))["code"]) == (404, "not_found")


async def test_a_gateway_that_closes_tells_its_readers_to_come_again() -> None:
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk:
        async with opened(desk) as door:
            run = await start(door, "count", 2)
            response = await door.session.get(f"{door.url}/v1/runs/{run}/events")
            socket = await door.session.ws_connect(f"{door.url}/v1/runs/{run}/events")
            seen = b""
            while b"event: run" not in seen:
                seen += await response.content.readany()
            while (await socket.receive_json())["type"] != "run":
                pass
            door.gateway.close()
            rest = (await response.content.read()).decode()
            assert rest.endswith(
                'retry: 10\nevent: closing\ndata: {"message":"the gateway restarts: connect again, with the last '
                'cursor"}\n\n'
            )
            last = [json.loads(message.data) async for message in socket][-1]
            assert (last["type"], socket.close_code) == ("closing", 1012)
            assert (await door.say("GET", "/healthz"))[0] == 503
        gate.set()


async def test_a_reader_that_takes_nothing_is_left() -> None:
    letters = "x" * 60_000

    async def stream(value: int) -> AsyncGenerator[Any, None]:
        for _ in range(value):
            yield letters

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"], "long")
    options = replace(QUICK, stall_seconds=0.3)
    made = program(of, {"a": handler(stream, streams=True)})
    async with Desk(made).open() as desk, opened(desk, options=options) as door:
        run = await start(door, "long", 300)
        host, port = door.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(f"GET /v1/runs/{run}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await door.streams(1)
        await door.streams(0)
        assert (await door.say("GET", f"/v1/runs/{run}/result"))[0] == 200
        writer.transport.abort()


async def test_many_readers_share_one_tail_of_a_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk) as door:
        tails = []
        read = desk.log.read

        def counted(topic: str, start: Any, *, until: Any = None) -> Any:
            if topic == desk.topics.run_results and until is None:
                tails.append(start)
            return read(topic, start, until=until)

        monkeypatch.setattr(desk.log, "read", counted)
        runs = [await start(door, "count", 4) for _ in range(10)]
        reading = [asyncio.create_task(door.events(run)) for run in runs for _ in range(5)]
        await door.streams(len(reading))
        gate.set()
        for events in await asyncio.gather(*reading):
            values = [json.loads(event.data)["value"] for event in events if event.event == "chunk"]
            assert values == [0, 1, 2, 3]
        assert len(tails) <= desk.topics.partitions
