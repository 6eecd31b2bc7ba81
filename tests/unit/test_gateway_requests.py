"""What the gateway refuses, within which limits it serves, and the events that it publishes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from beluga_stream.adapters.http.allowance import Limits
from beluga_stream.ports.log import TopicSpec
from tests.unit.desks import Desk, Mood, graph
from tests.unit.engines import handler, program
from tests.unit.gateways import QUICK, opened
from tests.unit.graphs import edges, node, plan
from tests.unit.test_gateway import NOBODY, counting, start


async def test_what_is_wrong_with_a_request_is_said() -> None:
    of = plan([node("a")], edges("input > a"), ["a"], "typed", input_schema={"type": "integer"})
    made = program(of, {"a": handler(lambda value: value)})
    async with Desk(made).open() as desk, opened(desk) as door:
        runs, run = "/v1/graphs/typed/runs", f"/v1/runs/{NOBODY}"
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        for method, path, body, status, said in [
            ("POST", runs, {"input": "one"}, 422, "is not of type"),
            ("POST", runs, {"input": list(range(100_000))}, 422, "is not of type"),
            ("POST", runs, {"input": deep}, 422, "nests too deep"),
            ("POST", runs, {"inputs": 1}, 422, "inputs"),
            ("POST", runs, {"x" * 100_000: 1}, 422, "not permitted"),
            ("POST", runs, {"input": 1, "tags": {"a": 1}}, 422, "tags.a"),
            ("POST", runs, [], 422, "the body"),
            ("GET", f"{run}/events?after=x", None, 422, "after"),
            ("GET", f"{run}/events?aftr=0-1", None, 422, "known are after"),
            ("GET", f"{run}/result?timeout=-1", None, 422, "between 0 and 60"),
            ("GET", f"{run}/result?timeout=nan", None, 422, "between 0 and 60"),
            ("GET", f"{run}/result?timeout=soon", None, 422, "must be a number"),
            ("GET", "/v1/runs?limit=1&limit=2", None, 422, "given twice"),
            ("GET", "/v1/runs?tag=x", None, 422, "tag is wrong"),
            ("GET", "/v1/runs/a.b", None, 422, "cannot be the run"),
            ("GET", "/v1/nothing", None, 404, "/openapi.json"),
            ("DELETE", "/v1/runs", None, 405, "DELETE"),
        ]:
            found, told = await door.say(method, path, body)
            assert (found, told["status"], said in told["detail"]) == (status, status, True), (path, told)
            assert len(told["detail"]) < 2_000


async def test_a_body_that_is_no_json_too_large_or_of_another_kind_is_refused() -> None:
    options = replace(QUICK, limits=Limits(body_bytes=1_024))
    async with Desk(graph(Mood())).open() as desk, opened(desk, options=options) as door:
        url = f"{door.url}/v1/graphs/test/runs"

        async def post(data: Any, kind: str = "application/json") -> tuple[int, str]:
            async with door.session.post(url, data=data, headers={"Content-Type": kind}) as response:
                return response.status, (await response.json(content_type=None))["code"]

        async def endless() -> AsyncGenerator[bytes, None]:
            for _ in range(100):
                yield b" " * 1_000

        assert await post(b"{") == (400, "invalid_input")
        assert await post(b"\xff") == (400, "invalid_input")
        assert await post(b"[" * 1_000) == (400, "invalid_input")
        assert await post(b"{}", "text/plain") == (415, "invalid_input")
        assert await post(b" " * 1_025) == (413, "invalid_input")
        assert await post(endless()) == (413, "invalid_input")


async def test_who_asks_too_much_is_told_when_to_come_again() -> None:
    options = replace(QUICK, limits=Limits(rate=0.5, burst_seconds=4, streams_each=1))
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk, options=options) as door:
        run = await start(door, "count", 2)
        async with door.session.get(f"{door.url}/v1/runs/{run}/events") as stream:
            assert stream.status == 200
            status, told, headers = await door.whole("GET", "/v1/graphs")
            assert (status, told["code"]) == (429, "resource_exhausted")
            assert headers["Retry-After"] == "2"
        gate.set()


async def test_one_caller_has_so_many_streams_and_no_more() -> None:
    options = replace(QUICK, limits=Limits(streams_each=2))
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk, options=options) as door:
        run = await start(door, "count", 2)
        url = f"{door.url}/v1/runs/{run}/events"
        async with door.session.get(url) as first, door.session.get(url) as second:
            assert (first.status, second.status) == (200, 200)
            status, told, headers = await door.whole("GET", f"/v1/runs/{run}/events")
            assert (status, headers["Retry-After"]) == (429, "1")
            assert "2 streams" in told["detail"]
        await door.streams(0)
        gate.set()
        assert (await door.events(run))[-1].event == "end"


async def test_who_asks_only_for_the_head_of_a_stream_has_it_and_holds_none() -> None:
    gate = asyncio.Event()
    async with Desk(counting(gate)).open() as desk, opened(desk) as door:
        run = await start(door, "count", 2)
        async with door.session.head(f"{door.url}/v1/runs/{run}/events") as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
        await door.streams(0)
        async with door.session.head(f"{door.url}/v1/runs/{NOBODY}/events") as response:
            assert response.status == 404
        gate.set()


async def test_events_are_published_as_they_are_and_as_cloud_events() -> None:
    async with Desk(graph(Mood())).open() as desk:
        desk.log.create([TopicSpec("orders", 1)])
        async with opened(desk, publishable=["orders"]) as door:
            path = "/v1/topics/orders/events"
            told = await door.say("POST", f"{path}?key=o-1", {"number": 7})
            assert told == (202, {"topic": "orders", "partition": 0, "offset": 0})
            attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "shop", "ce-type": "order"}
            await door.say("POST", path, {"number": 8}, **attributes)
            event = {"specversion": "1.0", "id": "2", "source": "shop", "type": "order", "data": {"number": 9}}
            kind = "application/cloudevents+json"
            body = json.dumps(event)
            repeated = {"Content-Type": kind.title(), **attributes, "ce-id": "2"}
            for sent in ({"Content-Type": kind}, repeated):
                async with door.session.post(door.url + path, data=body, headers=sent) as answer:
                    assert answer.status == 202, await answer.text()
            plain, binary, structured, again = desk.log.records("orders", 0)
            assert (plain.key, plain.value) == (b"o-1", b'{"number": 7}')
            for record, number in ((binary, 8), (structured, 9), (again, 9)):
                assert json.loads(record.value or b"") == {"number": number}
                headers = dict(record.headers)
                assert (headers["ce_id"], headers["ce_type"]) == (str(number - 7).encode(), b"order")
            for body in ({**event, "id": ""}, {"specversion": "1.0"}):
                async with door.session.post(door.url + path, json=body, headers={"Content-Type": kind}) as answer:
                    assert answer.status == 422
            for other in ("runs", desk.topics.run_events):
                assert (await door.say("POST", f"/v1/topics/{other}/events", {}))[0] == 404
