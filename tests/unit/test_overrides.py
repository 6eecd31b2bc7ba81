"""Overrides at the front desk: over the log and over a gateway, on an engine in this process."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from beluga_stream import Graph, blocking
from beluga_stream.api.client import Client
from beluga_stream.application import codec
from beluga_stream.application.catalog import publish
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.messages import Summary
from beluga_stream.domain.cover import cover
from beluga_stream.domain.definition import Definition, NodeKind
from beluga_stream.domain.ids import RunId, near_run_id
from beluga_stream.domain.overriding import check_target, check_values
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.errors import InvalidConfig, InvalidInput, InvalidState, NotFound, RunFailed
from beluga_stream.ports.handlers import Handler, Parameter
from beluga_stream.ports.log import Outgoing
from tests.unit.desks import Desk
from tests.unit.engines import ANY, handler, program
from tests.unit.gateways import desk_at, opened
from tests.unit.graphs import CHILDREN, child_of, edges, name, node, plan


class Slow:
    """One node that needs longer than its timeout, and has one attempt; it counts them."""

    def __init__(self) -> None:
        self.calls = 0
        of = plan([node("a", timeout_ms=50, retry=RetryPolicy(1, first_ms=1, most_ms=1))], edges("input > a"), ["a"])
        self.program = program(of, {"a": handler(self.a)})

    async def a(self, value: int) -> int:
        self.calls += 1
        await asyncio.sleep(0.3)
        if self.calls < 4:
            raise ConnectionError("not yet")
        return value * 2


async def failed(runs: Any, run: RunId) -> None:
    with pytest.raises(RunFailed):
        await runs.result(run)


async def test_a_failed_run_is_overridden_retried_and_succeeds() -> None:
    slow = Slow()
    async with Desk(slow.program).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        await failed(runs, run)
        await runs.retry(run)
        await failed(runs, run)
        await runs.override(run, "a", timeout_ms=10_000, attempts=2)
        await runs.retry(run)
        assert await runs.result(run) == 8
    assert slow.calls == 4, "twice there was too little time; then there was enough, and a second attempt"


async def test_a_subgraphs_node_is_overridden_in_the_child_run() -> None:
    async def slow(value: int) -> int:
        await asyncio.sleep(0.3)
        return value * 2

    quick = plan([node("c", timeout_ms=50, retry=RetryPolicy(1))], edges("input > c"), ["c"], "child")
    calls = node("g", NodeKind.GRAPH, child=quick.hash, child_name="child")
    parent = Definition("test", (calls,), edges("input > g"), (name("g"),))
    of = program(Plan(parent, {quick.hash: quick}), {})
    async with Desk(program(quick, {"c": handler(slow)}), of).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        await failed(runs, run)
        (child,) = [summary.run for summary in await runs.summaries() if summary.parent == run]
        with pytest.raises(InvalidInput, match="a subgraph's nodes are those of the child run"):
            await runs.override(run, "g", timeout_ms=10_000)
        await runs.override(child, "c", timeout_ms=10_000)
        await runs.retry(run)
        assert await runs.result(run) == 8


async def test_the_pages_of_a_large_map_are_overridden_with_it() -> None:
    async def item(value: int) -> int:
        await asyncio.sleep(0.3)
        return value * 2

    quick = node("m", NodeKind.MAP, timeout_ms=50, max_parallel=128, retry=RetryPolicy(1))
    items = program(plan([quick], edges("input > m"), ["m"]), {"m": handler(item)})
    async with Desk(items).open() as desk, desk.client() as runs:
        run = await runs.start("test", list(range(150)))
        await failed(runs, run)
        await runs.override(run, "m", timeout_ms=10_000)
        await runs.retry(run)
        assert await runs.result(run) == [2 * number for number in range(150)]


async def test_a_gateway_overrides_with_the_same_answers() -> None:
    async with Desk(Slow().program).open() as desk, opened(desk) as door, desk_at(door.url) as http:
        run = await http.start("test", 4)
        await failed(http, run)
        await http.override(run, "a", timeout_ms=10_000, attempts=4)
        await http.retry(run)
        assert await http.result(run) == 8
        other = await http.start("test", 4)
        with pytest.raises(NotFound, match=f"run {other} has no node 'z': its graph 'test' has a") as refused:
            await http.override(other, "z", attempts=2)
        path = f"/v1/runs/{run}/nodes/a/override"
        for wrong in ({}, {"attempts": 0}, {"timeout_ms": 0}, {"attempts": 22}, {"attempts": "many"}, {"node": "a"}):
            status, told = await door.say("POST", path, wrong)
            assert (status, told["code"]) == (422, "invalid_input"), wrong
        status, told = await door.say("POST", f"/v1/runs/{'0' * 32}/nodes/a/override", {"attempts": 2})
        assert (status, told["code"]) == (404, "not_found")
    assert refused.value.ids["node"] == "z"


async def test_what_would_be_ignored_is_refused() -> None:
    gate = asyncio.Event()

    async def held(value: int) -> int:
        await gate.wait()
        return value

    row = program(
        plan([node("a"), node("b")], edges("input > a > b"), ["b"]), {"a": handler(_same), "b": handler(held)}
    )
    async with Desk(row).open() as desk, desk.client() as runs, desk.client() as others:
        unknown = RunId("0" * 32)
        with pytest.raises(NotFound, match=f"there is no run {unknown}"):
            await runs.override(unknown, "a", attempts=2)
        run = await runs.start("test", 1)
        await runs.override(run, "b", attempts=2)  # started a moment ago: its summary is waited for
        with pytest.raises(NotFound, match=f"run {run} has no node 'z'") as refused:
            await others.override(run, "z", attempts=2)
        assert (refused.value.ids["run"], refused.value.ids["node"]) == (run, "z")
        with pytest.raises(InvalidInput, match="an override of nothing"):
            await runs.override(run, "b")
        with pytest.raises(InvalidState, match=f"a part of run {run}"):
            await runs.override(near_run_id(run, name("a")), "a", attempts=2)
        assert not desk.log.records(desk.topics.dead_letters, 0)
        gate.set()
        await runs.result(run)
        await standing(runs, run, "succeeded")
        with pytest.raises(InvalidState, match=r"has ended \(succeeded\)"):
            await runs.override(run, "b", attempts=2)


async def standing(runs: Runs, run: RunId, status: str) -> None:
    """Until its summary says so: it follows the run's stream."""
    while (summary := await runs.summary(run)) is None or summary.status != status:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_run_that_is_undone_cannot_be_overridden() -> None:
    async def fail(value: int) -> int:
        raise ValueError("broken")

    async def undo(value: int, output: int) -> None:
        pass

    back = Handler(undo, (Parameter("value", ANY), Parameter("output", ANY)), ANY)
    row = program(
        plan([node("a", has_compensation=True), node("b", retry=RetryPolicy(1))], edges("input > a > b"), ["b"]),
        {"a": handler(_same, compensate=back), "b": handler(fail)},
    )
    async with Desk(row).open() as desk, desk.client() as runs:
        run = await runs.start("test", 1)
        await failed(runs, run)
        await standing(runs, run, "failed")
        with pytest.raises(InvalidState, match="undone"):
            await runs.override(run, "b", attempts=2)


async def test_the_pinned_definition_counts_and_not_the_one_that_is_deployed() -> None:
    waits = node("w", NodeKind.WAIT, signal="go")
    old = program(plan([waits, node("old")], edges("input > w > old"), ["old"]), {"old": handler(_same)})
    new = plan([waits, node("new")], edges("input > w > new"), ["new"])
    async with Desk(old).open() as desk, desk.client() as runs:
        run = await runs.start("test", 1)
        await standing(runs, run, "running")
        await publish(desk.log, desk.topics, [new.definition])
        await runs.override(run, "old", attempts=2)
        with pytest.raises(NotFound, match="has no node 'new'"):
            await runs.override(run, "new", attempts=2)


async def _same(value: int) -> int:
    return value


@pytest.mark.parametrize(
    ("timeout_ms", "attempts", "said"),
    [
        (None, None, "an override of nothing"),
        (0, None, "a timeout of 0 s is out of range"),
        (-5_000, 2, "a timeout of -5 s is out of range"),
        (24 * 3_600_000 + 1, None, "at most 24 hours"),
        (None, 0, "0 attempts are out of range"),
        (1, -1, "-1 attempts"),
        (None, 22, "give 1 to 21"),
    ],
)
def test_values_that_no_node_may_have(timeout_ms: int | None, attempts: int | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_values(timeout_ms, attempts)
    check_values(1, 1)
    check_values(24 * 3_600_000, 21)


def test_only_what_has_a_handler_of_its_own_has_something_to_override() -> None:
    nodes = [
        node("task"),
        node("stream", NodeKind.STREAM),
        node("map", NodeKind.MAP),
        node("loop", NodeKind.LOOP),
        child_of("graph", NodeKind.GRAPH),
        child_of("graphs", NodeKind.MAP),
        node("wait", NodeKind.WAIT, signal="go"),
        node("sleep", NodeKind.SLEEP, timeout_ms=5),
    ]
    wires = edges(*(f"input > {each.name}" for each in nodes))
    of = Plan(Definition("test", tuple(nodes), wires, (name("task"),)), CHILDREN)
    run = RunId("r")
    for each in ("task", "stream", "map", "loop"):
        assert check_target(of, run, each) == each
    for each in ("graph", "graphs", "wait", "sleep"):
        with pytest.raises(InvalidInput, match=f"node '{each}' of run r is executed by no worker"):
            check_target(of, run, each)
    for each in ("map[3]", "task~undo", "graph/c"):
        with pytest.raises(InvalidInput, match="a part of a node"):
            check_target(of, run, each)


async def test_a_durable_run_cannot_be_overridden() -> None:
    durable = program(plan([node("a")], edges("input > a"), ["a"], durable=True), {})
    run = RunId("d" * 32)
    covered = cover(durable.definition).hash
    summary = Summary(run=run, graph="test", definition=covered, status="running", trigger="api", started_ms=1)
    async with Desk(durable).open() as desk, desk.client() as runs:
        await desk.log.append([Outgoing(desk.topics.runs, run.encode(), codec.summaries.encode(summary))])
        with pytest.raises(InvalidState, match="is durable: its runs are workflows"):
            await runs.override(run, "a", attempts=2)


class Noted:
    """Stands for a desk: it notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int | None, int | None]] = []

    async def override(self, run: str, node: str, *, timeout_ms: int | None, attempts: int | None) -> None:
        self.asked.append((run, node, timeout_ms, attempts))


def test_the_clients_take_durations_as_everywhere_and_nodes_by_reference_or_name() -> None:
    desk = Noted()

    @asynccontextmanager
    async def opener() -> AsyncGenerator[Any, None]:
        yield desk

    graph = Graph[int, int]("test")
    double = graph.add_node(_same, graph.input, name="double")
    graph.set_finish_point(double)
    with blocking.Client(Client(opener)) as beluga:
        run = beluga.run(graph, "r")
        run.override(double, timeout=1.5)
        run.override("double", timeout=timedelta(minutes=1), attempts=3)
        for wrong in (math.nan, math.inf, -math.inf):
            with pytest.raises(InvalidConfig, match=f"the duration {wrong:g} is out of range"):
                run.override(double, timeout=wrong)
    assert desk.asked == [("r", "double", 1_500, None), ("r", "double", 60_000, 3)]
