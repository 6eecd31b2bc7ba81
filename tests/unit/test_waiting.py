"""What a run waits for, in each status that a node may be in."""

from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.clients.snapshot import unfinished
from beluga_stream.application.codec import Kept
from beluga_stream.domain.definition import EdgeMode, Node, NodeKind
from beluga_stream.domain.events import Failure
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId, item_key
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus, StreamPosition
from beluga_stream.domain.waiting import Waiting, waits
from beluga_stream.ports.log import Outgoing, TopicSpec
from tests.unit.graphs import child_of, edge, edges, name, node, plan

RUN = RunId("r" * 32)
IT = NodeKey("it")
MINUTE = 60_000


def run_with(status: NodeStatus, run: RunId = RUN, **changes: Any) -> RunState:
    it = NodeState(status, attempt=2, since_ms=10, **changes)
    return RunState(
        run=run, key=run, graph="g", status=RunStatus.RUNNING, digest="d", trigger="api", started_ms=5, nodes={IT: it}
    )


CASES = [
    (node("it", queue="gpu"), NodeStatus.READY, {}, ("worker", "a worker of queue 'gpu'", None)),
    (node("it", timeout_ms=100), NodeStatus.RUNNING, {"worker": "host:1"}, ("lease", "worker host:1", 110)),
    (node("it"), NodeStatus.BACKOFF, {"due_ms": 70}, ("timer", "its next attempt, after 2", 70)),
    (
        node("it"),
        NodeStatus.PARKED,
        {"due_ms": 70, "failure": Failure("code_missing", "deploy it")},
        ("code", "its code: deploy it", 70),
    ),
    (node("it", NodeKind.WAIT, signal="go"), NodeStatus.WAITING, {"due_ms": 70}, ("signal", "signal 'go'", 70)),
    (
        node("it", NodeKind.SLEEP, timeout_ms=9),
        NodeStatus.WAITING,
        {"due_ms": 19},
        ("timer", "the end of its sleep", 19),
    ),
    (child_of("it", NodeKind.GRAPH), NodeStatus.WAITING, {"child": RunId("c")}, ("child", "run c", None)),
    (node("it", NodeKind.MAP), NodeStatus.WAITING, {}, ("nothing", "nothing: please report this run", None)),
]


@pytest.mark.parametrize(("declared", "status", "changes", "expected"), CASES, ids=[case[3][0] for case in CASES])
def test_each_reason_is_told(declared: Node, status: NodeStatus, changes: Any, expected: tuple[Any, ...]) -> None:
    of = plan([declared], edges("input > it"), ["it"])
    on, what, due = expected
    assert waits(of, run_with(status, **changes)) == [Waiting(IT, on, what, 10, due)]


def test_a_node_in_parts_waits_for_those_that_go_on() -> None:
    of = plan([node("it", NodeKind.MAP)], edges("input > it"), ["it"])
    state = run_with(NodeStatus.WAITING)
    item = NodeState(NodeStatus.READY, attempt=1, since_ms=20)
    found = waits(of, replace(state, nodes={**state.nodes, item_key(name("it"), 0): item}))
    assert [(waiting.node, waiting.on) for waiting in found] == [(IT, "parts"), ("it[0]", "worker")]


def test_a_run_without_a_reason_is_a_defect_and_late_at_once() -> None:
    of = plan([node("it")], edges("input > it"), ["it"])
    (waiting,) = waits(of, run_with(NodeStatus.PENDING))
    assert waiting.on == "nothing"
    assert waiting.is_late(0, MINUTE)


def test_late_is_what_is_past_its_own_expectation() -> None:
    timed = Waiting(IT, "timer", "", 0, due_ms=1_000)
    assert not timed.is_late(1_000 + MINUTE, MINUTE)
    assert timed.is_late(1_001 + MINUTE, MINUTE)
    assert not Waiting(IT, "signal", "", 0).is_late(10**12, MINUTE)
    assert Waiting(IT, "worker", "", 0).is_late(MINUTE + 1, MINUTE)
    assert Waiting(IT, "code", "", 0).is_late(0, MINUTE)


async def test_the_changelog_tells_which_runs_go_on() -> None:
    log = MemoryLog()
    log.create([TopicSpec("changelog", 2)])
    going, page, other, over = (RunId(name) for name in ("a", "a.it[0:64]", "b", "c"))
    ended = RunState(
        run=over, key=over, graph="g", status=RunStatus.SUCCEEDED, digest="d", trigger="api", started_ms=5, ended_ms=6
    )
    rows: list[tuple[RunId, RunState | None]] = [
        (going, run_with(NodeStatus.READY, going)),
        (page, run_with(NodeStatus.READY, page)),
        (other, run_with(NodeStatus.READY, other)),
        (over, run_with(NodeStatus.READY, over)),
        (over, ended),
        (other, None),
    ]
    await log.append([Outgoing("changelog", b"~claim", b"me", partition=0)])
    await log.append(
        [
            Outgoing(
                "changelog",
                run.encode(),
                None if state is None else codec.kept.encode(Kept(state)),
                partition=0,
            )
            for run, state in rows
        ]
    )
    assert [state.run for state in await unfinished(log, "changelog", range(2))] == [going, page]
    assert [state.run for state in await unfinished(log, "changelog", [0], RunId("a"))] == [going, page]
    assert await unfinished(log, "changelog", [0], other) == []
    assert await unfinished(log, "changelog", [1]) == []


def test_a_node_that_waits_for_a_first_chunk_says_whose() -> None:
    of = plan(
        [node("it", NodeKind.STREAM), node("reader"), node("also")],
        [
            *edges("input > it", "input > also"),
            edge("it", "reader", EdgeMode.STREAM),
            edge("it", "also", EdgeMode.STREAM),
        ],
        ["reader", "also"],
    )
    state = run_with(NodeStatus.RUNNING)
    pending = {name("also"): NodeState(NodeStatus.PENDING, since_ms=4, open=1, total=1)}
    found = waits(of, replace(state, nodes={**state.nodes, **pending}))
    assert [(each.node, each.on, each.what) for each in found[1:]] == [
        ("reader", "stream", "the stream of it"),
        ("also", "stream", "the stream of it"),
    ]
    assert not any(each.is_late(10**12, 1) for each in found[1:]), "who writes it has reasons of its own"
    streaming = run_with(NodeStatus.RUNNING, stream=StreamPosition(Incarnation("i"), 0, 7, counter=3))
    assert [each.on for each in waits(of, streaming)] == ["lease"]
